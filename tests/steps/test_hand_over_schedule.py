"""The schedule there, back and there again, with the files and rows of real beats."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from scheduled_project import (
    LEGACY,
    PLAN,
    ROWS,
    begin,
    make_rows,
    migrate,
    remember,
    remembered,
    rows,
    run_code,
    scheduled_context,
)
from shop import in_child, kill_at

from migrator.runner.execute import run_back, run_forward
from migrator.runner.report import StepResult
from migrator.steps import quiesce_schedulers
from migrator.steps.hand_over_schedule import STEP
from migrator.steps.protocol import Context, Step

HOUR_S = 3600.0


def there(context: Context) -> str:
    """Stop what runs and hand over; return the notes."""
    run_forward(context, quiesce_schedulers.STEP)
    return _notes(run_forward(context, STEP))


def back(context: Context) -> str:
    return _notes(run_back(context, STEP))


def _notes(result: StepResult) -> str:
    return "\n".join(text for action in result.actions for text in action.facts.get("notes", ()))


def again(context: Context) -> Context:
    found = replace(context, run=context.run + 1)
    begin(found)
    return found


def test_each_entry_of_a_file_goes_on_where_the_other_side_was(tmp_path: Path) -> None:
    context = scheduled_context(tmp_path)
    remember(tmp_path, "legacy", "old-state", {"hourly": HOUR_S + 60, "daily": 5000})
    said = there(context)
    assert "run once by the unified one: each-hour" in said and "daily" not in said
    found = remembered(tmp_path, "unified", "new-state")
    assert found["each-hour"][0] == pytest.approx(HOUR_S + 60, abs=200) and found["each-hour"][1] == 5
    assert found["daily"][0] == pytest.approx(5000, abs=200)
    # The unified beat runs both; the rollback must not run them again.
    remember(tmp_path, "unified", "new-state", {"each-hour": 10, "daily": 20})
    assert "run once" not in back(context)
    found = remembered(tmp_path, "legacy", "old-state")
    assert found["hourly"][0] == pytest.approx(10, abs=200) and found["daily"][0] == pytest.approx(20, abs=200)
    remember(tmp_path, "legacy", "old-state", {"hourly": 5, "daily": 15})
    assert "run once" not in there(again(context))


def test_one_file_for_both_sides(tmp_path: Path) -> None:
    context = scheduled_context(tmp_path, legacy='"-s", "state"', unified='"-s", "state"')
    remember(tmp_path, "legacy", "state", {"hourly": 1000, "daily": 2000})
    there(context)
    found = remembered(tmp_path, "unified", "state")
    assert found["each-hour"][0] == pytest.approx(1000, abs=200) and found["daily"][0] == pytest.approx(2000, abs=200)
    back(context)
    assert remembered(tmp_path, "legacy", "state")["hourly"][0] == pytest.approx(1000, abs=200)


def test_what_is_missed_is_skipped_and_listed_if_the_plan_says_so(tmp_path: Path) -> None:
    context = scheduled_context(tmp_path, plan=PLAN.replace('"run"', '"skip"'))
    remember(tmp_path, "legacy", "old-state", {"hourly": HOUR_S + 60})
    assert "skipped as the plan says: each-hour" in there(context)
    assert remembered(tmp_path, "unified", "new-state")["each-hour"][0] < 300


def test_rows_change_where_they_stand(tmp_path: Path) -> None:
    context = scheduled_context(tmp_path, legacy=ROWS, unified=ROWS)
    migrate(tmp_path)
    make_rows(tmp_path, {
        "hourly": {"task": "old.job", "args": "[1]", "total_run_count": 7},
        "daily": {"task": "old.job", "enabled": False},
        "by hand": {"task": "old.job", "queue": "celery", "description": "ours"},
        "other": {"task": "somebody.else"},
    })  # fmt: skip
    before = rows(tmp_path)
    there(context)
    after = rows(tmp_path)
    assert set(after) == {"each-hour", "daily", "by hand", "other"}
    assert after["each-hour"] == {**before["hourly"], "task": "new.job"}
    assert after["daily"] == {**before["daily"], "task": "new.job"}
    assert after["by hand"] == {**before["by hand"], "task": "new.job", "queue": "unified"}
    back(context)
    assert rows(tmp_path) == before
    there(again(context))
    assert rows(tmp_path) == after


def test_from_a_file_to_rows_and_back(tmp_path: Path) -> None:
    context = scheduled_context(tmp_path, unified=ROWS)
    migrate(tmp_path)
    make_rows(tmp_path, {"other": {"task": "somebody.else"}})
    before = rows(tmp_path)
    remember(tmp_path, "legacy", "old-state", {"hourly": HOUR_S + 60, "daily": 5000})
    assert "each-hour" in there(context)
    found = rows(tmp_path)
    assert found["each-hour"]["task"] == "new.job" and found["each-hour"]["total_run_count"] == 5
    move = "from django_celery_beat.models import PeriodicTask as P\nfrom django.utils.timezone import now\n"
    run_code(tmp_path, move + "P.objects.filter(name='each-hour').update(last_run_at=now(), enabled=False)")
    said = back(context)
    assert "'each-hour', which was switched off meanwhile, is deleted" in said
    assert rows(tmp_path) == before, "what the plan made is gone"
    assert remembered(tmp_path, "legacy", "old-state")["hourly"][0] < 300


def test_a_scheduler_that_remembers_nothing_counts_from_its_stop(tmp_path: Path) -> None:
    context = scheduled_context(tmp_path)
    there(context)
    assert 0 <= remembered(tmp_path, "unified", "new-state")["each-hour"][0] < 300


def test_a_file_that_can_not_be_read_stops_nothing(tmp_path: Path) -> None:
    context = scheduled_context(tmp_path)
    (tmp_path / "old-state").write_text("no database")
    there(context)
    assert set(LEGACY) & set(remembered(tmp_path, "unified", "new-state")) == {"daily"}


def test_killed_after_each_action_it_goes_on(tmp_path: Path) -> None:
    context = scheduled_context(tmp_path, legacy=ROWS, unified=ROWS)
    migrate(tmp_path)
    off = {"task": "old.job", "enabled": False}
    make_rows(tmp_path, {"hourly": {"task": "old.job"}, "daily": {"task": "old.job"}, "by hand": off})
    before = rows(tmp_path)
    run_forward(context, quiesce_schedulers.STEP)
    assert _killed(context, run_forward) > 1
    assert {row["task"] for row in rows(tmp_path).values()} == {"new.job"}
    assert _killed(context, run_back) > 1
    assert rows(tmp_path) == before


def _killed(context: Context, go: Callable[[Context, Step], object]) -> int:
    for kills in range(20):
        listener = kill_at(2 if kills % 2 == 0 else 3)
        code = in_child(partial(go, replace(context, listener=listener), STEP))
        if code == 0:
            return kills
        assert code == -signal.SIGKILL
    pytest.fail("no end")
