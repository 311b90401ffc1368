"""Start the unified producers, which send to the unified queues; their workers have been ready since `start_workers`.

Undo stops them.
"""

from __future__ import annotations

from migrator.plan.processes import Role
from migrator.report import Report
from migrator.steps.actions.process_actions import start_actions, stop_actions, verify_ready
from migrator.steps.protocol import Action, Context, Step, nothing_to_check, processes
from migrator.wire.message import Side


def actions(context: Context) -> tuple[Action, ...]:
    """Start each unified producer and wait until it serves."""
    return start_actions(context, processes(context, Side.UNIFIED, Role.PRODUCER))


def verify(context: Context) -> Report:
    """Every unified producer serves."""
    return verify_ready(context, processes(context, Side.UNIFIED, Role.PRODUCER))


def undo(context: Context) -> tuple[Action, ...]:
    """Stop the unified producers."""
    return stop_actions(context, processes(context, Side.UNIFIED, Role.PRODUCER))


STEP = Step(
    name="start_producers",
    title="Start the unified producers",
    check=nothing_to_check,
    actions=actions,
    verify=verify,
    undo=undo,
)
