"""The corpus: shapes as data, each rewritten once, compiled, and rewritten again without any change."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus_project import Case, make_project, read_cases

from codemods.runner import Mode, rewrite

DATA = Path(__file__).parent / "data"
CASES = [
    pytest.param(case, id=f"{file.stem}: {case.name}")
    for file in sorted(DATA.glob("*.txt"))
    for case in read_cases(file)
]


@pytest.mark.parametrize("case", CASES)
def test_shape(tmp_path: Path, case: Case) -> None:
    plan = make_project(tmp_path, case.before)
    report = rewrite(plan, mode=Mode.WRITE)
    found = {name: (tmp_path / name).read_bytes().decode("utf-8") for name in case.after}
    assert found == dict(case.after)
    assert sorted({finding.code for finding in report.findings}) == sorted(set(case.codes))
    for name, text in found.items():
        compile(text, name, "exec")
    again = rewrite(plan, mode=Mode.CHECK)
    assert not again.changed
    assert not again.unparsable
