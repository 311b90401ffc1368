"""The policy of a task: queue, priority, retries, backoff, limits, age, results, acks, locks, encoder, middleware.

Source: see :mod:`migrator.agent.describe`. The unified task is compared with the plan as well. What follows from the
plan itself (the name, one of its unified queues, Celery's JSON instead of Dramatiq's) is no difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from checks.compare.experiment import Comparison
from checks.protocol import KindContext, pair
from migrator.plan.model import Plan, PlannedTask, TaskMapping
from migrator.report import Mismatch, Outcome
from migrator.wire.message import System


def compare(context: KindContext) -> Iterator[Comparison]:
    """Yield one comparison for each mapped task, and one of each unified task with the plan."""
    # Dramatiq's default is 0, Celery's none.
    priorities = {_priority(context, mapping) or 0 for mapping in context.plan.mappings()}
    for mapping in context.plan.mappings():
        legacy = context.facts(mapping.system.value, mapping.name)
        unified = context.facts("unified", mapping.unified)
        if "broken" not in legacy and "broken" not in unified:
            follows = _following(context.plan, mapping, legacy["policy"], unified["policy"])
            if unified["policy"]["priority"] is None and len(priorities) == 1:
                follows["priority"] = None  # where all have the same, none has to be written
            legacy = {**legacy, "policy": {**legacy["policy"], **follows}}
        yield pair("policy", mapping, legacy, unified)
    for task in context.plan.tasks:
        found = context.facts("unified", task.name)
        if "broken" not in found:
            yield _as_planned(context, task, found["policy"])


def _priority(context: KindContext, mapping: TaskMapping) -> Any:
    facts = context.facts(mapping.system.value, mapping.name)
    return facts["policy"]["priority"] if "broken" not in facts else None


def _following(
    plan: Plan, mapping: TaskMapping, legacy: Mapping[str, Any], unified: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what of a legacy policy must be otherwise in the unified one, because the plan or the library says so."""
    expected: dict[str, Any] = {"name": mapping.unified}
    endpoint = plan.endpoint(mapping.system)
    # A legacy task without a queue shows the default one of the rewritten settings, which is a unified one.
    planned = {*(endpoint.queues if endpoint else ()), *plan.unified.queues}
    if legacy["queue"] in planned and unified["queue"] in plan.unified.queues:
        expected["queue"] = unified["queue"]
    if mapping.system is System.DRAMATIQ:
        if legacy["encoder"] == "JSONEncoder":
            expected["encoder"] = "json"
        if legacy["backoff_s"] == f"{unified['backoff_s']}, with jitter":
            # Dramatiq's jitter only lengthens a wait; Celery's would shorten it, down to nothing.
            expected["backoff_s"] = unified["backoff_s"]
        if unified["time_limit_s"] is None or unified["time_limit_s"] > (unified["soft_time_limit_s"] or 0):
            # Dramatiq's limit is an exception in the task, as Celery's soft one; it never kills a process.
            expected["time_limit_s"] = unified["time_limit_s"]
    if unified["max_retries"] == 0 and (legacy["max_retries"] == 0 or legacy["retried"] == "never"):
        # What is never retried has no waits.
        expected |= {name: unified[name] for name in ("max_retries", "retried", "backoff_s")}
    return expected


def _as_planned(context: KindContext, task: PlannedTask, policy: dict[str, Any]) -> Comparison:
    planned = {
        "queue": task.queue or next(iter(context.plan.unified.queues), policy["queue"]),
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
