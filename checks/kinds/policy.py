"""The policy of a task: queue, priority, retries, backoff, limits, age, results, acks, locks, encoder, middleware.

Source: see :mod:`migrator.agent.describe`. The unified task is compared with the plan as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from checks.compare.experiment import Comparison
from checks.protocol import KindContext, pair
from migrator.plan.model import PlannedTask
from migrator.report import Mismatch, Outcome


def compare(context: KindContext) -> Iterator[Comparison]:
    """Yield one comparison for each mapped task, and one of each unified task with the plan."""
    for mapping in context.plan.mappings():
        legacy = context.facts(mapping.system.value, mapping.name)
        yield pair("policy", mapping, legacy, context.facts("unified", mapping.unified))
    for task in context.plan.tasks:
        found = context.facts("unified", task.name)
        if "broken" not in found:
            yield _as_planned(context, task, found["policy"])


def _as_planned(context: KindContext, task: PlannedTask, policy: dict[str, Any]) -> Comparison:
    queues = context.plan.unified.queues
    planned = {
        "queue": policy["queue"] if policy["queue"] in queues else ", ".join(queues),
        # Without a number the plan says that the task is never retried, for which Celery has no number to compare with.
        "max_retries": policy["max_retries"] if task.max_retries is None else task.max_retries,
    }
    frame: dict[str, Any] = {"case": f"plan:{task.name}", "task": task.name, "system": "celery"}
    found = [
        Mismatch(path=f"policy.planned.{name}", outcome=Outcome.MISMATCHED, legacy=value, unified=policy[name], **frame)
        for name, value in planned.items()
        if policy[name] != value
    ]
    title = f"{task.name} as the plan says"
    return Comparison(title=title, kind="policy", legacy_name=context.plan.file.name, mismatches=tuple(found), **frame)
