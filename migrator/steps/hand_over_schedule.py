"""Hand the schedule over while no scheduler runs: what has run when, and the rows of django_celery_beat.

A legacy beat that reads rows would send unified names at once, so that rows change only after it has stopped and before
a unified one starts. What each entry ran last goes along, by its name on the other side: the beat that starts then runs
once what fell due meanwhile, and nothing twice. What is to be done is noted first and done afterwards, so that it may
be repeated; undo gives rows back what they had and leaves alone what an operator has changed since.

A legacy worker with a beat inside needs it before it starts; otherwise no message waits for the undo.
"""

from __future__ import annotations

from functools import partial

from migrator.plan.processes import Process
from migrator.report import Report
from migrator.state.journal import EntryKind, Phase
from migrator.steps.actions.schedule_handover import NOTE_BACK, note_back, note_forward, write_back, write_forward
from migrator.steps.protocol import (
    Action,
    Context,
    Facts,
    Step,
    error,
    findings_report,
    nothing_to_check,
    recorded,
    staying,
)
from migrator.steps.quiesce_schedulers import NAME as QUIESCE
from migrator.steps.quiesce_schedulers import NOTE
from migrator.workers.schedule_store import ScheduleStore, beat_process, embeds_beat, legacy_beats, locate

NAME = "hand_over_schedule"


def target_beat(context: Context) -> Process | None:
    """Return the beat that runs after the cutover: the unified one, or a legacy one that stays."""
    names = {process.name for process in staying(context)}
    return beat_process(context.plan) or next((p for p in legacy_beats(context.plan) if p.name in names), None)


def actions(context: Context) -> tuple[Action, ...]:
    """Note what is to be handed over, then do it; nothing for a plan without a beat."""
    if target_beat(context) is None and not legacy_beats(context.plan):
        return ()
    return (
        Action(id="read", sentence="note what the legacy schedulers ran last", run=partial(_read, context)),
        Action(id="write", sentence="hand it to the unified scheduler", run=partial(_write, context)),
    )


def verify(context: Context) -> Report:
    """No row that is on names a legacy task any more."""
    left = recorded(context, NAME, "write").get("left", ())
    remedy = "correct the row, then run the same command again"
    findings = [error("SCHEDULE-ROW", f"row {name!r}", "names a legacy task", remedy=remedy) for name in left]
    return findings_report("rows of the schedule", findings)


def undo(context: Context) -> tuple[Action, ...]:
    """Hand it back at once if a legacy worker has a beat inside."""
    return _back(context) if any(embeds_beat(process.command) for process in legacy_beats(context.plan)) else ()


def undo_late(context: Context) -> tuple[Action, ...]:
    """Hand it back when the messages are where they belong."""
    return () if any(embeds_beat(process.command) for process in legacy_beats(context.plan)) else _back(context)


def _back(context: Context) -> tuple[Action, ...]:
    if not recorded(context, NAME, "read"):
        return ()
    return (
        Action(id=NOTE_BACK, sentence="note what the unified scheduler ran last", run=partial(_read_back, context)),
        Action(id="write-back", sentence="hand it back to the legacy schedulers", run=partial(_write_back, context)),
    )


def _read(context: Context) -> Facts:
    sources = [ScheduleStore(**store) for store in recorded(context, QUIESCE, NOTE).get("stores", ())]
    process = target_beat(context)
    target = locate(context.plan, process, environ=context.environ)[0] if process is not None else None
    return note_forward(context, sources, target, stopped_at=_stopped_at(context))


def _write(context: Context) -> Facts:
    return write_forward(context, recorded(context, NAME, "read"))


def _read_back(context: Context) -> Facts:
    return note_back(context, recorded(context, NAME, "read"))


def _write_back(context: Context) -> Facts:
    noted = recorded(context, NAME, NOTE_BACK, phase=Phase.BACK)
    return write_back(context, NAME, recorded(context, NAME, "read"), noted)


def _stopped_at(context: Context) -> str | None:
    """Return when the first legacy scheduler was told to stop in this run; None if none ran."""
    begun = next((e for e in context.journal.entries(context.run) if e.mark is EntryKind.RUN_BEGUN), None)
    running = begun.data.get("running", ()) if begun is not None else ()
    stops = {f"stop:{name}" for name in running}
    for line in context.journal.entries(context.run):
        if line.step == QUIESCE and line.action in stops and line.mark is EntryKind.STARTED:
            return line.at.isoformat()
    return None


STEP = Step(
    name=NAME,
    title="Hand the schedule over",
    check=nothing_to_check,
    actions=actions,
    verify=verify,
    undo=undo,
    undo_late=undo_late,
)
