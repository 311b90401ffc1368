"""Stop the legacy producers: from here on only legacy workers can still send legacy messages.

Undo starts those that ran before.
"""

from __future__ import annotations

from migrator.plan.processes import Role
from migrator.report import Report
from migrator.steps.actions.process_actions import start_actions, stop_actions, verify_stopped
from migrator.steps.protocol import Action, Context, Step, nothing_to_check, processes, ran_before
from migrator.wire.message import Side


def actions(context: Context) -> tuple[Action, ...]:
    """Stop each legacy producer by pid and start time."""
    return stop_actions(context, processes(context, Side.LEGACY, Role.PRODUCER))


def verify(context: Context) -> Report:
    """No legacy producer runs."""
    return verify_stopped(context, processes(context, Side.LEGACY, Role.PRODUCER))


def undo(context: Context) -> tuple[Action, ...]:
    """Start the legacy producers that ran before."""
    before = (p for p in processes(context, Side.LEGACY, Role.PRODUCER) if ran_before(context, p))
    return start_actions(context, before)


STEP = Step(
    name="stop_producers",
    title="Stop the legacy producers",
    check=nothing_to_check,
    actions=actions,
    verify=verify,
    undo=undo,
)
