"""Can the schedule be handed over: is it known where each beat remembers what it has sent, and does every row fit?

Rows of django_celery_beat can only be changed as the plan says; what only an operator knows is refused here, while
nothing has been stopped yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from migrator.plan.model import Plan
from migrator.report import Finding, Report
from migrator.steps.hand_over_schedule import target_beat
from migrator.steps.protocol import Context, error, findings_report, warning
from migrator.translation.periodic_rows import Row, unified_rows
from migrator.workers.schedule_store import ROWS, UNKNOWN, ScheduleStore, legacy_beats, locate


def guard(context: Context) -> Report:
    """Return the rows that can't be changed, and the beats whose state can't be handed over."""
    target = target_beat(context)
    beats = [*legacy_beats(context.plan), *((target,) if target is not None else ())]
    chosen = {process.name: process for process in beats}.values()
    located = [locate(context.plan, process, environ=context.environ) for process in chosen]
    stores = [store for store, _ in located]
    findings = [_unknown(store) for store in stores if store.kind == UNKNOWN]
    rows = next((found.rows for _, found in located if found.rows is not None), None)
    if rows is not None and any(store.kind in (ROWS, UNKNOWN) for store in stores):
        findings += _rows(context.plan, rows)
        after = next((store for store in stores if target is not None and store.process == target.name), None)
        if after is not None and after.kind not in (ROWS, UNKNOWN):
            findings += _unread(context.plan, rows, after)
    return findings_report("schedule state", findings, checked=max(1, len(rows or ())))


def _unknown(store: ScheduleStore) -> Finding:
    what = "can't be asked where it remembers what it has sent: its entries would count from its next start"
    remedy = "let `command` of the process name the app (-A) that a shell in the project can import"
    return warning("SCHEDULE-STATE-UNKNOWN", f"process {store.process}", what, found=store.problem, remedy=remedy)


def _rows(plan: Plan, rows: Sequence[Row]) -> Iterator[Finding]:
    for problem in unified_rows(plan, rows).problems:
        tell = error if problem.enabled else warning
        yield tell(
            "SCHEDULE-ROW",
            f"row {problem.name!r} of django_celery_beat",
            f"sends {problem.task!r}, and can't be made to send the unified task",
            found=problem.why,
            remedy="correct it in Django's admin so that queue and arguments are ones of the plan, or delete it",
        )


def _unread(plan: Plan, rows: Sequence[Row], after: ScheduleStore) -> Iterator[Finding]:
    replaced = {name.partition(":")[2] for entry in plan.schedule for name in entry.replaces}
    for change in unified_rows(plan, rows).changes:
        row = next(row for row in rows if row["id"] == change["id"])
        if row["enabled"] and change["after"].get("enabled", True) and row["name"] not in {*replaced, *after.schedule}:
            yield error(
                "SCHEDULE-ROW",
                f"row {row['name']!r} of django_celery_beat",
                f"would never run again: {after.process} reads no rows",
                found=f"its scheduler is {after.scheduler}",
                remedy="give it -S django_celery_beat.schedulers:DatabaseScheduler, or the plan a [[schedule]] for it",
            )
