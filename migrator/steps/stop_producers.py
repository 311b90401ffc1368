"""Stop the legacy producers: from here on only legacy workers can still send legacy messages."""

from __future__ import annotations

from migrator.plan.processes import Role
from migrator.steps.actions.process_step import stop_step

STEP = stop_step("stop_producers", "Stop the legacy producers", Role.PRODUCER)
