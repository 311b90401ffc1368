"""What a plan points callers at has to be there, under the name that the plan gives it."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_projects import SAME_KEY

from migrator.inventory.plan_check import check_complete
from migrator.inventory.scan import scan
from migrator.plan.loader import load_plan


def codes(folder: Path, **changed: str | None) -> list[str]:
    for name, text in {**SAME_KEY, **{f"app/{name}.py": text for name, text in changed.items()}}.items():
        if text is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    plan = load_plan(folder / "migration.toml")
    report = check_complete(plan, scan(plan.source_root))
    return [finding.code for finding in report.errors if finding.code.startswith(("PLAN-NO", "PLAN-NAME"))]


@pytest.mark.parametrize(
    "text",
    [
        SAME_KEY["app/new.py"],
        "from app.other import nightly\n",
        "from app.other import *\n",
        "from app.celery import app\n\nnightly = make(app)\n",
        "def nightly(:\n",
    ],
    ids=["defined", "imported", "maybe imported", "made", "unreadable"],
)
def test_a_task_that_is_there_or_may_be_is_left_alone(tmp_path: Path, text: str) -> None:
    assert codes(tmp_path, new=text) == []


@pytest.mark.parametrize("text", [None, "def other(): ...\n"], ids=["no module", "no function"])
def test_a_task_that_is_not_there_is_an_error(tmp_path: Path, text: str | None) -> None:
    assert codes(tmp_path, new=text) == ["PLAN-NO-TARGET"]


def test_a_task_that_registers_another_name_is_an_error(tmp_path: Path) -> None:
    assert codes(tmp_path, new=SAME_KEY["app/new.py"].replace('"new.nightly"', '"app.nightly"')) == ["PLAN-NAME"]
