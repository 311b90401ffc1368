"""The queues that single tasks of a plan name: each must be one of its endpoint's, whose workers consume it."""

from __future__ import annotations

from migrator.errors import did_you_mean
from migrator.plan.model import Plan
from migrator.plan.toml_table import Problems


def check_queues(plan: Plan, problems: Problems) -> None:
    """Add a problem for each task whose queue is not in the list of its side."""
    known: dict[str, tuple[str, ...]] = {f"legacy.{endpoint.system}": endpoint.queues for endpoint in plan.legacy}
    known["unified"] = plan.unified.queues
    named = [(f"task:{task.name}", "unified", task.queue) for task in plan.tasks]
    named += [(f"{item.system}:{item.name}", f"legacy.{item.system}", item.queue) for item in plan.mappings()]
    for where, side, queue in named:
        queues = known.get(side, ())
        if queue and queue not in queues:
            problems.add(where, f"its queue {queue!r} is not in {side}.queues", did_you_mean(queue, queues))
