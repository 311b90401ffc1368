"""The corpus: shapes as data, each rewritten once, compiled, and rewritten again without any change."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus_project import Case, make_project, read_cases
from in_place import BROKER, CORPUS, CORPUS_SCHEDULE

from codemods.report import Mode
from codemods.runner import rewrite
from migrator.plan.loader import load_plan
from migrator.plan.model import Plan

DATA = Path(__file__).parent / "data"
CASES = [
    pytest.param(case, id=f"{file.stem}: {case.name}")
    for file in sorted(DATA.glob("*.txt"))
    for case in read_cases(file)
]


SHAPES, IN_PLACE = ([c for c in CASES if c.id.startswith("in_place") is own] for own in (False, True))


@pytest.mark.parametrize("case", SHAPES)
def test_shape(tmp_path: Path, case: Case) -> None:
    check(tmp_path, case, make_project(tmp_path, case.before))


@pytest.mark.parametrize("case", IN_PLACE)
def test_shape_where_actors_stay_in_their_files(tmp_path: Path, case: Case) -> None:
    has_broker = any("DRAMATIQ_BROKER" in text for text in case.before.values())
    clocked = any("nightly" in text for text in case.before.values())
    (tmp_path / "migration.toml").write_text(CORPUS + (CORPUS_SCHEDULE if clocked else ""))
    for name, text in case.before.items() if has_broker else {**case.before, "src/broker.py": BROKER}.items():
        file = tmp_path / name.removeprefix("src/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
    check(tmp_path, case, load_plan(tmp_path / "migration.toml"))


def check(folder: Path, case: Case, plan: Plan) -> None:
    root = "src/" if (folder / "src").exists() else ""
    report = rewrite(plan, mode=Mode.WRITE)
    found = {name: (folder / name.replace("src/", root, 1)).read_bytes().decode("utf-8") for name in case.after}
    assert found == dict(case.after)
    assert sorted({f.code for f in report.findings if not f.where.startswith("broker.py")}) == sorted(set(case.codes))
    for name, text in found.items():
        compile(text, name, "exec")
    again = rewrite(plan, mode=Mode.CHECK)
    assert not again.changed
    assert not again.unparsable
    assert {finding.code for finding in again.findings} <= {finding.code for finding in report.findings}
