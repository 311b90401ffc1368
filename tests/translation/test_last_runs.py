"""Last runs by the names of the other side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from migrator.plan.loader import load_plan
from migrator.plan.model import Plan
from migrator.translation.last_runs import legacy_runs, unified_runs

PLAN = """\
[migration]
name = "runs"

[project]
root = "."
settings = "conf.settings"

[legacy.celery]
broker = "redis://127.0.0.1:6379/0"
queues = ["celery"]
modules = ["jobs"]

[unified]
broker = "redis://127.0.0.1:6379/0"
queues = ["unified"]

[[task]]
name = "u.quote"
path = "u.quote"
parameters = []

  [[task.replaces]]
  system = "celery"
  name = "jobs.quote"
  parameters = []

[[schedule]]
name = "quotes"
task = "u.quote"
every_s = 60
replaces = ["conf.settings:a", "conf.other:b"]

[[schedule]]
name = "new"
task = "u.quote"
every_s = 60
"""
EARLY, LATE, STOPPED = "2026-03-01T03:00:00+00:00", "2026-03-01T05:30:00+02:00", "2026-03-01T04:00:00+00:00"


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "migration.toml").write_text(PLAN)
    return load_plan(tmp_path / "migration.toml")


def ran(moment: str | None, count: int = 1) -> dict[str, Any]:
    return {"last_run_at": moment, "total_run_count": count}


def test_the_last_of_all_that_an_entry_replaces_counts(plan: Plan) -> None:
    # 05:30 at +02:00 is 03:30, after 03:00.
    found = unified_runs(
        plan, [{"a": ran(EARLY, 3), "kept": ran(EARLY)}, {"b": ran(LATE, 4)}], schedule=["kept"], stopped_at=None
    )
    assert found == {"quotes": ran(LATE, 7), "kept": ran(EARLY)}


def test_a_scheduler_that_remembers_nothing_has_run_everything_until_it_stopped(plan: Plan) -> None:
    assert unified_runs(plan, [{"a": ran(None)}], schedule=[], stopped_at=STOPPED) == {
        "quotes": {**ran(STOPPED, 0), "assumed": True}
    }
    assert unified_runs(plan, [], schedule=[], stopped_at=None) == {}, "none ran: nothing is known"


def test_on_the_way_back_each_gets_that_of_its_successor(plan: Plan) -> None:
    found = legacy_runs(plan, {"quotes": ran(LATE, 7), "kept": ran(EARLY), "never": ran(None)})
    assert found == {"a": ran(LATE, 7), "b": ran(LATE, 7), "kept": ran(EARLY)}
