"""Start the legacy processes again that tasks outside of the plan's scope need, on the converted source.

They were stopped like all others: the code that they had loaded runs the plan's tasks the old way. The messages of
those tasks have left by now, so what they find in their queues is theirs. Undo stops them; when the legacy source is
back, all legacy processes are started from it.
"""

from __future__ import annotations

from functools import partial

from migrator.plan.processes import Process, Role
from migrator.report import Report
from migrator.state.journal import Phase
from migrator.steps.actions.process_actions import (
    cancel_consumers,
    start_actions,
    stop_actions,
    verify_ready,
    wait_drained,
)
from migrator.steps.protocol import Action, Context, Facts, Step, nothing_to_check, ran_before, recorded, staying
from migrator.wire.message import System

NAME = "restart_staying"


def actions(context: Context) -> tuple[Action, ...]:
    """Start those that ran before, and wait for each."""
    return start_actions(context, _processes(context))


def verify(context: Context) -> Report:
    """Each runs and is ready."""
    return verify_ready(context, _processes(context))


def undo(context: Context) -> tuple[Action, ...]:
    """Drain the Celery workers, and stop all, schedulers first."""
    chosen = sorted(_processes(context), key=lambda process: process.role is Role.WORKER)
    celery = [p for p in chosen if p.role is Role.WORKER and p.system is System.CELERY]
    draining = tuple(
        action
        for process in celery
        for action in (
            Action(
                id=f"cancel:{process.name}",
                sentence=f"tell {process.name} to take no more messages",
                run=partial(_cancel, context, process),
            ),
            Action(
                id=f"drain:{process.name}",
                sentence=f"wait until {process.name} has finished its tasks",
                run=partial(_drain, context, process),
            ),
        )
    )
    return draining + stop_actions(context, chosen)


def _processes(context: Context) -> tuple[Process, ...]:
    return tuple(process for process in staying(context) if ran_before(context, process))


def _cancel(context: Context, process: Process) -> Facts:
    return cancel_consumers(context, NAME, process)


def _drain(context: Context, process: Process) -> Facts:
    return wait_drained(context, process, recorded(context, NAME, f"cancel:{process.name}", phase=Phase.BACK))


STEP = Step(
    name=NAME,
    title="Start the legacy processes again that stay",
    check=nothing_to_check,
    actions=actions,
    verify=verify,
    undo=undo,
)
