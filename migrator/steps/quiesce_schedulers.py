"""Stop the legacy schedulers, so that nothing new is scheduled while messages move.

Periods that fall between this step and the start of the unified scheduler are not caught up.
Undo starts those that ran before.
"""

from __future__ import annotations

from migrator.plan.processes import Role
from migrator.report import Report
from migrator.steps.actions.process_actions import start_actions, stop_actions, verify_stopped
from migrator.steps.protocol import Action, Context, Step, nothing_to_check, processes, ran_before
from migrator.wire.message import Side


def actions(context: Context) -> tuple[Action, ...]:
    """Stop each legacy scheduler by pid and start time."""
    return stop_actions(context, processes(context, Side.LEGACY, Role.SCHEDULER))


def verify(context: Context) -> Report:
    """No legacy scheduler runs."""
    return verify_stopped(context, processes(context, Side.LEGACY, Role.SCHEDULER))


def undo(context: Context) -> tuple[Action, ...]:
    """Start the legacy schedulers that ran before."""
    before = (p for p in processes(context, Side.LEGACY, Role.SCHEDULER) if ran_before(context, p))
    return start_actions(context, before)


STEP = Step(
    name="quiesce_schedulers",
    title="Stop the legacy schedulers",
    check=nothing_to_check,
    actions=actions,
    verify=verify,
    undo=undo,
    cannot_undo=lambda context: ("schedules that fell due in between are not caught up",),
)
