"""Stop the legacy schedulers, so that nothing new is scheduled while messages move.

Periods that fall between this step and the start of the unified scheduler are not caught up.
"""

from __future__ import annotations

from migrator.plan.processes import Role
from migrator.steps.actions.process_step import stop_step

STEP = stop_step(
    "quiesce_schedulers",
    "Stop the legacy schedulers",
    Role.SCHEDULER,
    cannot_undo=("schedules that fell due in between are not caught up",),
)
