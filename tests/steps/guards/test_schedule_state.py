"""What stands against handing a schedule over."""

from __future__ import annotations

from pathlib import Path

from guard_context import codes
from scheduled_project import ROWS, make_rows, migrate, remember, scheduled_context

from migrator.report import Severity
from migrator.steps.guards.schedule_state import guard


def test_rows_and_files_that_can_be_handed_over_are_no_finding(tmp_path: Path) -> None:
    context = scheduled_context(tmp_path, legacy=ROWS, unified=ROWS)
    migrate(tmp_path)
    make_rows(tmp_path, {"a": {"task": "old.job"}, "b": {"task": "else", "routing_key": "x"}})
    assert guard(context).findings == ()


def test_a_row_that_can_not_be_changed_is_an_error_while_it_is_on(tmp_path: Path) -> None:
    context = scheduled_context(tmp_path, legacy=ROWS, unified=ROWS)
    migrate(tmp_path)
    make_rows(tmp_path, {
        "routed": {"task": "old.job", "routing_key": "high"},
        "too many": {"task": "old.job", "args": "[1, 2]"},
        "off": {"task": "old.job", "routing_key": "high", "enabled": False},
    })  # fmt: skip
    report = guard(context)
    assert [found.where for found in report.errors] == [
        "row 'routed' of django_celery_beat",
        "row 'too many' of django_celery_beat",
    ]
    assert "routing key" in report.errors[0].found
    assert codes(report, Severity.WARNING) == {"SCHEDULE-ROW"}


def test_rows_that_nobody_would_read_any_more_are_errors(tmp_path: Path) -> None:
    context = scheduled_context(tmp_path, legacy=ROWS)
    migrate(tmp_path)
    make_rows(tmp_path, {"by hand": {"task": "old.job"}, "hourly": {"task": "old.job"}, "daily": {"task": "old.job"}})
    assert [found.where for found in guard(context).errors] == ["row 'by hand' of django_celery_beat"]


def test_rows_that_nobody_reads_are_no_finding(tmp_path: Path) -> None:
    context = scheduled_context(tmp_path)
    migrate(tmp_path)
    remember(tmp_path, "legacy", "old-state", {})
    make_rows(tmp_path, {"routed": {"task": "old.job", "routing_key": "high"}})
    assert guard(context).findings == ()


def test_a_beat_that_can_not_be_asked_is_named(tmp_path: Path) -> None:
    context = scheduled_context(tmp_path)
    (tmp_path / "conf/legacy.py").write_text("import nothing_of_that_name\n")
    report = guard(context)
    assert codes(report, Severity.WARNING) == {"SCHEDULE-STATE-UNKNOWN"} and not report.errors
    assert "nothing_of_that_name" in report.findings[0].found
