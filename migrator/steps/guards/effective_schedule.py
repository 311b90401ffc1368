"""Would the unified beat send every periodic task of the plan, and none that the plan takes away?

What counts is the schedule that beat would really use, after everything that assigns to it, as a worker probe reads it
with the app of the plan's unified scheduler. An assignment in code wins over the settings, so that what stands in a
file proves nothing.

Source: celery/beat.py (`setup_schedule` merges `conf.beat_schedule`; `-S` names another class), celery/app/base.py
(`conf` and `add_periodic_task`); django_celery_beat and redbeat keep further entries in rows of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from migrator.errors import MigratorError
from migrator.plan.model import Plan
from migrator.report import Finding, Report
from migrator.steps.protocol import Context, error, findings_report, warning
from migrator.wire.message import System
from migrator.workers.probe import ask, option
from migrator.workers.schedule_store import beat_process


def schedule_findings(plan: Plan, seen: Mapping[str, Any]) -> Iterator[Finding]:
    """Compare the effective schedule with the plan.

    Args:
        plan: What ought to be scheduled.
        seen: Answer of a worker probe for the app of :func:`beat_process`.
    """
    schedule: Mapping[str, str] = seen["schedule"]
    beat = beat_process(plan)
    command = beat.command if beat is not None else ()
    scheduler = option(command, "-S", "--scheduler") or str(seen["settings"]["beat_scheduler"])
    if scheduler.startswith("redbeat"):
        what, remedy = "reads entries of its own, which this does not look at", "see that they name unified tasks"
        yield warning("SCHEDULE-IN-DATABASE", "beat", what, found=scheduler, remedy=remedy)
    elif not scheduler.startswith("django_celery_beat"):
        # Rows are looked at where they are handed over.
        yield from _missing(plan, schedule)
    yield from _left(plan, schedule)
    for entry, task in schedule.items():
        # Beyond a scope an entry is of a task that stays, and whoever serves that one is no unified worker.
        stays = plan.scope and plan.task(task) is None and not plan.names(System.CELERY, task)
        if task not in seen["registered"] and not stays:
            what = f"sends {task!r}, which no unified worker knows"
            remedy = "name a unified task, or take the entry out"
            yield error("SCHEDULE-UNKNOWN-TASK", f"schedule entry {entry}", what, remedy=remedy)


def _missing(plan: Plan, schedule: Mapping[str, str]) -> Iterator[Finding]:
    """Entries of the plan that beat would not send, or would send as something else."""
    for entry in plan.schedule:
        task = schedule.get(entry.name)
        if task is None:
            what = "is not in the schedule that the unified beat would use: its task would never run again"
            found = f"beat has {', '.join(sorted(schedule)) or 'no entry at all'}"
            remedy = (
                "see where beat_schedule is assigned: app.conf wins over the settings, the last settings module over "
                "others; leave one of them and give it this entry"
            )
            yield error("SCHEDULE-MISSING", f"schedule entry {entry.name}", what, found=found, remedy=remedy)
        elif task != entry.task:
            what, found = "sends another task than the plan says", f"{task}, the plan has {entry.task}"
            remedy = "correct the entry where beat_schedule is assigned, or the plan"
            yield error("SCHEDULE-MISSING", f"schedule entry {entry.name}", what, found=found, remedy=remedy)


def _left(plan: Plan, schedule: Mapping[str, str]) -> Iterator[Finding]:
    """Entries that the plan takes away and that beat would still send."""
    gone = {name: f"replaced by {entry.name}" for entry in plan.schedule for name in entry.replaces}
    gone |= {entry.name: "retired" for entry in plan.retired_schedule}
    names = {entry.name for entry in plan.schedule}
    for legacy, fate in gone.items():
        name = legacy.partition(":")[2]
        if name in schedule and name not in names:
            what = f"is {fate} in the plan, and still in the schedule that the unified beat would use"
            remedy = f"take it out where it stands ({legacy} in the plan)"
            yield error("SCHEDULE-LEFT", f"schedule entry {name}", what, found=f"sends {schedule[name]}", remedy=remedy)


def verify(context: Context) -> Report:
    """Return what is wrong with the effective schedule now; nothing is asked if the plan says nothing about it."""
    plan, subject = context.plan, "effective schedule"
    if not plan.schedule and not plan.retired_schedule:
        return findings_report(subject, ())
    try:
        seen = ask(plan, beat_process(plan), environ=context.environ)
    except MigratorError as failure:
        remedy = "import the app of the unified beat in the project by hand to see why"
        return findings_report(
            "effective schedule", [error("WORKER-PROBE-FAILED", "beat", str(failure), remedy=remedy)]
        )
    return findings_report(subject, schedule_findings(plan, seen), checked=len(plan.schedule))
