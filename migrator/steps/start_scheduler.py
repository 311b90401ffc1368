"""Start the unified scheduler (beat), now that its workers have everything.

Undo stops it.
"""

from __future__ import annotations

from migrator.plan.processes import Role
from migrator.report import Report
from migrator.steps.actions.process_actions import start_actions, stop_actions, verify_ready, verify_stopped
from migrator.steps.protocol import Action, Context, Step, processes
from migrator.wire.message import Side


def check(context: Context) -> Report:
    """No legacy scheduler runs: two at once would send every periodic task twice."""
    return verify_stopped(context, processes(context, Side.LEGACY, Role.SCHEDULER))


def actions(context: Context) -> tuple[Action, ...]:
    """Start each unified scheduler and wait until it has begun."""
    return start_actions(context, processes(context, Side.UNIFIED, Role.SCHEDULER))


def verify(context: Context) -> Report:
    """Every unified scheduler runs."""
    return verify_ready(context, processes(context, Side.UNIFIED, Role.SCHEDULER))


def undo(context: Context) -> tuple[Action, ...]:
    """Stop the unified schedulers."""
    return stop_actions(context, processes(context, Side.UNIFIED, Role.SCHEDULER))


STEP = Step(
    name="start_scheduler",
    title="Start the unified scheduler",
    check=check,
    actions=actions,
    verify=verify,
    undo=undo,
)
