"""Start the unified scheduler (beat), now that its workers have everything."""

from __future__ import annotations

from migrator.plan.processes import Role
from migrator.report import Report
from migrator.steps.actions.process_actions import verify_stopped
from migrator.steps.actions.process_step import start_step
from migrator.steps.protocol import Context, processes, staying
from migrator.wire.message import Side


def check(context: Context) -> Report:
    """No legacy scheduler runs: two at once would send every periodic task twice."""
    stays = {process.name for process in staying(context)}
    return verify_stopped(context, (p for p in processes(context, Side.LEGACY, Role.SCHEDULER) if p.name not in stays))


STEP = start_step("start_scheduler", "Start the unified scheduler", Role.SCHEDULER, check=check)
