"""Workers that a cutover needs and the plan doesn't have. The rewrite and the parity check do without."""

from __future__ import annotations

from migrator.plan.model import Plan
from migrator.plan.processes import Role
from migrator.wire.message import Side

REMEDY = "add it to the plan as a [[process]]; `migrator inspect` lists what deployment files start"


def absent_workers(plan: Plan) -> tuple[str, ...]:
    """Return what is missing: a unified worker, or a legacy worker of a system whose tasks the plan has."""
    found = {process.system for process in plan.select(side=Side.LEGACY, role=Role.WORKER)}
    used = {mapping.system for mapping in plan.mappings()} | {task.system for task in plan.retired}
    absent = [
        f"legacy {endpoint.system.value} worker"
        for endpoint in plan.legacy
        if endpoint.system in used and endpoint.system not in found
    ]
    if not plan.select(side=Side.UNIFIED, role=Role.WORKER):
        absent.append("unified worker")
    return tuple(absent)
