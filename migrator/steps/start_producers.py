"""Start the unified producers, which send to the unified queues; `start_workers` has their workers ready."""

from __future__ import annotations

from migrator.plan.processes import Role
from migrator.steps.actions.process_step import start_step

STEP = start_step("start_producers", "Start the unified producers", Role.PRODUCER)
