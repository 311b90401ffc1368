"""The corpus: shapes as data, each rewritten once, compiled, and rewritten again without any change.

The cases of a rewrite lie in ``rewrites/data`` under its name; those whose actors stay in their files lie in
``rewrites/data/in_place``, and what every rewrite leaves alone in ``data``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet
from corpus_project import Case, make_project, read_cases
from in_place import BROKER, CORPUS, CORPUS_SCHEDULE

from codemods.report import Mode
from codemods.runner import rewrite
from migrator.plan.loader import load_plan
from migrator.plan.model import Plan

#: The app of the projects whose actors stay in their files.
APP = """\
from celery import Celery

app = Celery("corpus")
app.config_from_object("django.conf:settings", namespace="CELERY")
"""
GENERAL = Path(__file__).parent / "data"
BY_REWRITE = Path(__file__).parent / "rewrites" / "data"
IN_PLACE = BY_REWRITE / "in_place"


@dataclass(frozen=True, slots=True)
class Shape:
    """A case and its kind of plan."""

    case: Case
    #: The plan maps the actor to itself.
    in_place: bool = False

    def check(self, folder: Path) -> None:
        """Rewrite the case in ``folder``, and rewrite the result again."""
        plan = _in_place(folder, self.case) if self.in_place else make_project(folder, self.case.before)
        _check(folder, self.case, plan)


def shapes_of(name: str) -> list[ParameterSet]:
    """Return the cases of a rewrite, or of a general file: what stays untouched comes first in each file."""
    files = [folder / f"{name}.txt" for folder in (GENERAL, BY_REWRITE, IN_PLACE)]
    found = [
        pytest.param(Shape(case, in_place=file.parent == IN_PLACE), id=case.name)
        for file in files
        if file.exists()
        for case in read_cases(file)
    ]
    assert found, f"there are no cases of {name}"
    return found


def _in_place(folder: Path, case: Case) -> Plan:
    has_broker = any("DRAMATIQ_BROKER" in text for text in case.before.values())
    has_schedule = any("nightly" in text for text in case.before.values())
    (folder / "migration.toml").write_text(CORPUS + (CORPUS_SCHEDULE if has_schedule else ""))
    # A project without a Celery app gets one: see test_celery_app.py.
    app = {"src/queue_app.py": APP}
    broker = {} if has_broker else {"src/broker.py": BROKER}
    own = {"src/settings.py": "DEBUG = False\n", **case.before, **broker, **app}
    for name, text in own.items():
        file = folder / name.removeprefix("src/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
    return load_plan(folder / "migration.toml")


def _check(folder: Path, case: Case, plan: Plan) -> None:
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
