"""Start the unified workers on their own queues and wait until they know every task of the plan.

Nothing is in these queues yet, and nothing legacy is touched: this is the moment to find out that they don't start.
Undo drains them and tells them to stop: what they have finished stays done, what they have not goes back to their
queue. It does not wait until they are gone; they no longer work by then, and the undo of the transfer waits.
"""

from __future__ import annotations

from functools import partial

from migrator.plan.processes import Process, Role
from migrator.report import Report
from migrator.state.journal import Phase
from migrator.steps.actions.process_actions import (
    ask_operator,
    cancel_consumers,
    start_actions,
    verify_ready,
    wait_drained,
)
from migrator.steps.actions.revoked import note_actions
from migrator.steps.protocol import Action, Context, Facts, Step, nothing_to_check, processes, recorded
from migrator.wire.message import Side
from migrator.workers.processes import signal_stop

NAME = "start_workers"


def actions(context: Context) -> tuple[Action, ...]:
    """Start all, then wait for each."""
    return start_actions(context, processes(context, Side.UNIFIED, Role.WORKER))


def verify(context: Context) -> Report:
    """Each answers under its own node name with our pid, knows all tasks and consumes the unified queues."""
    return verify_ready(context, processes(context, Side.UNIFIED, Role.WORKER))


def undo(context: Context) -> tuple[Action, ...]:
    """Cancel its consumers, drain it and tell it to stop, each worker."""
    workers = processes(context, Side.UNIFIED, Role.WORKER)
    ceasing = tuple(
        Action(
            id=f"cancel:{p.name}",
            sentence=f"tell {p.name} to take no more messages",
            run=partial(_cancel_consumers, context, p),
        )
        for p in workers
    )
    draining = tuple(
        Action(
            id=f"drain:{p.name}",
            sentence=f"wait until {p.name} has finished its tasks",
            run=partial(_drain, context, p),
        )
        for p in workers
    )
    telling = tuple(
        Action(id=f"signal:{p.name}", sentence=f"send SIGTERM to {p.name}", run=partial(_signal, context, p))
        for p in workers
    )
    return ceasing + draining + note_actions(context, workers, None) + telling


def _cancel_consumers(context: Context, process: Process) -> Facts:
    return cancel_consumers(context, NAME, process)


def _drain(context: Context, process: Process) -> Facts:
    return wait_drained(context, process, recorded(context, NAME, f"cancel:{process.name}", phase=Phase.BACK))


def _signal(context: Context, process: Process) -> None:
    ask_operator(context, process, "stop")
    signal_stop(context.plan, process, environ=context.environ)


STEP = Step(
    name=NAME,
    title="Start the unified workers",
    check=nothing_to_check,
    actions=actions,
    verify=verify,
    undo=undo,
)
