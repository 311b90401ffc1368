"""The queues that a project's source names, and those of them that the plan does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from migrator.inventory.draft_endpoints import used_queues
from migrator.inventory.facts.project import read_facts
from migrator.inventory.facts.task_options import queue_of, task_options
from migrator.inventory.scan import scan
from migrator.inventory.task_definitions import LegacyDefinition
from migrator.plan.decisions import is_open
from migrator.plan.model import Plan
from migrator.wire.message import System


def declared_queues(plan: Plan) -> dict[System, tuple[str, ...]]:
    """Return the names of the queues of each system in the source, as far as they can be read."""
    facts, tasks = read_facts(plan.source_root, plan.project.settings), scan(plan.source_root).tasks
    found: dict[System, tuple[str, ...]] = {}
    for system in System:
        own = [(task, task_options(task, facts.values)) for task in tasks if task.system is system]
        names = [name for name in used_queues(system, own, facts) if not is_open(name)] if own else []
        found[system] = tuple(dict.fromkeys(names))
    return found


def unnamed_queues(plan: Plan, tasks: Iterable[LegacyDefinition]) -> Iterator[tuple[LegacyDefinition, str]]:
    """Yield tasks whose declaration names a queue that is in no list of the plan."""
    values = read_facts(plan.source_root, plan.project.settings).values
    for task in tasks:
        endpoint = plan.endpoint(task.system)
        queue = queue_of(task, task_options(task, values))
        if not queue or endpoint is None or queue in (*endpoint.queues, *plan.unified.queues):
            continue
        if not any(left.fits(name) for left in plan.leaves for name in (queue, f"{endpoint.namespace}:{queue}")):
            yield task, queue


def unnamed_ages(plan: Plan, tasks: Iterable[LegacyDefinition]) -> Iterator[tuple[LegacyDefinition, int]]:
    """Yield actors with an age limit of their own that the plan has otherwise: no message says it."""
    values = read_facts(plan.source_root, plan.project.settings).values
    for task in tasks:
        mapping = plan.mapping(System.DRAMATIQ, task.name) if task.system is System.DRAMATIQ else None
        age_ms = task_options(task, values).values.get("max_age") if mapping else None
        if mapping and type(age_ms) is int and age_ms != mapping.max_age_ms:
            yield task, age_ms
