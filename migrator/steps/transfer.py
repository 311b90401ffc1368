"""Transfer every waiting and delayed message from the legacy queues to the unified ones, and back as undo.

All legacy workers are gone by now, so what they had claimed is taken too. What can't be translated is quarantined with
its reason and brought back by the undo; what was enqueued since goes back in its legacy form.
The transfer itself survives a crash at any point: a second call finishes what the first began.
"""

from __future__ import annotations

from functools import partial

from migrator.plan.processes import Role
from migrator.report import Report
from migrator.state.progress import recorded_progress
from migrator.steps.actions.downtime import moment
from migrator.steps.actions.process_actions import stop_actions, verify_stopped
from migrator.steps.protocol import Action, Context, Facts, Step, error, findings_report, processes, recorded
from migrator.transfer.options import Direction, TransferOptions
from migrator.transfer.transfer import transfer
from migrator.wire.message import Side, State
from migrator.workers.probe import releases_parked

NAME = "transfer"
#: What the journal's first line of a run says: whether the unified workers release parked messages.
PARKS = "releases_parked"
MOVE_BACK = "transfer all messages back to the legacy queues"


def check(context: Context) -> Report:
    """No legacy worker runs: what it holds could not be told from what it has lost."""
    return verify_stopped(context, processes(context, Side.LEGACY, Role.WORKER))


def actions(context: Context) -> tuple[Action, ...]:
    """Move all."""
    run = partial(move, context, Direction.FORWARD)
    return (Action(id="move", sentence="transfer all messages to the unified queues", run=run),)


def verify(context: Context) -> Report:
    """The books balance, and nothing is left in the legacy queues."""
    facts = recorded(context, NAME, "move")
    findings = []
    if facts.get("balance"):
        findings.append(
            error(
                "TRANSFER-UNBALANCED",
                "ledger",
                "doesn't balance",
                found=f"{facts['balance']} messages",
                remedy="migrator rollback; the snapshot holds every message",
            )
        )
    return findings_report("transfer", findings, **dict(facts))


def undo(context: Context) -> tuple[Action, ...]:
    """Wait until the unified workers are gone, then move all back, with what was enqueued since."""
    workers = stop_actions(context, processes(context, Side.UNIFIED, Role.WORKER), told_before=True)
    run = partial(move, context, Direction.BACK)
    return (*workers, Action(id="move-back", sentence=MOVE_BACK, run=run))


def cannot_undo(context: Context) -> tuple[str, ...]:
    """Return what has happened for good."""
    return (
        "tasks that have run since stay done",
        "messages of unified tasks without a legacy form are quarantined and listed",
    )


def move(context: Context, direction: Direction, *, consumers_stopped: bool = True) -> Facts:
    """Move everything in one direction and return what was moved, kept and why.

    Args:
        owners_dead: All workers of the emptied side are gone, so what they had claimed moves too.
    """
    options = TransferOptions(
        direction=direction,
        tasks=frozenset(context.options.tasks),
        consumers_stopped=consumers_stopped,
        park=direction is Direction.FORWARD and _parks(context),
    )
    what = f"messages to the {'unified' if direction is Direction.FORWARD else 'legacy'} queues"
    with recorded_progress(context.plan, what, context.listener) as listener:
        report = transfer(context.plan, environ=context.environ, options=options, listener=listener)
    return {
        "moved": report.moved,
        "quarantined": report.quarantined,
        "parked": report.parked,
        "by_task": dict(report.by_task),
        "reasons": dict(report.reasons),
        "balance": report.balance,
        "left": dict(report.left),
        "stays": dict(report.stays),
        "elapsed_s": round(report.elapsed_s, 3),
        "ended": moment(),
    }


def _parks(context: Context) -> bool:
    """Return whether the unified workers release what is parked; the preflight has asked, outside of the downtime."""
    asked = next((line for line in context.journal.entries(context.run) if PARKS in line.data), None)
    return bool(asked.data[PARKS]) if asked is not None else releases_parked(context.plan, environ=context.environ)


#: States in which a message waits or is held; DEAD ones are not in flight, KEPT ones are accounted for.
OPEN_STATES = (State.READY, State.DELAYED, State.CLAIMED, State.MOVING)

STEP = Step(
    name=NAME,
    title="Transfer the messages",
    check=check,
    actions=actions,
    verify=verify,
    undo=undo,
    cannot_undo=cannot_undo,
)
