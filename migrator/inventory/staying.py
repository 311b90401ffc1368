"""Which legacy tasks and schedule entries stay as they are, because they are outside of the plan's scope."""

from __future__ import annotations

from dataclasses import dataclass

from migrator.inventory.beat_entries import ScheduleDefinition
from migrator.inventory.scan import Inventory
from migrator.inventory.task_definitions import LegacyDefinition
from migrator.plan.model import Plan, in_scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Staying:
    """What stays; nothing where the plan has no scope."""

    tasks: tuple[LegacyDefinition, ...] = ()
    schedule: tuple[ScheduleDefinition, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks as ``system:name``; by path where the name is computed."""
        return tuple(sorted(f"{task.system.value}:{task.name or task.path}" for task in self.tasks))

    @property
    def facts(self) -> dict[str, list[str]]:
        """What a report says about them."""
        return {"stays": list(self.names), "stays_schedule": [entry.name for entry in self.schedule]}


def staying(plan: Plan, inventory: Inventory) -> Staying:
    """Return what the plan leaves as it is."""
    return out_of_scope(inventory, plan.scope, unified=frozenset(task.path for task in plan.tasks))


def out_of_scope(inventory: Inventory, scope: tuple[str, ...], *, unified: frozenset[str] = frozenset()) -> Staying:
    """Return what a scope leaves out; paths of unified tasks are no legacy tasks."""
    if not scope:
        return Staying()
    tasks = tuple(task for task in inventory.tasks if task.path not in unified and not in_scope(scope, task.path))
    schedule = tuple(entry for entry in inventory.schedule if _entry_stays(scope, entry, inventory))
    return Staying(tasks=tasks, schedule=schedule)


def _entry_stays(scope: tuple[str, ...], entry: ScheduleDefinition, inventory: Inventory) -> bool:
    """True unless an entry may send a task of the scope; what it sends is known by name, or as a function."""
    meant = [
        task
        for task in inventory.tasks
        if entry.task and entry.task in (task.name, task.path, task.path.rpartition(".")[2])
    ]
    exact = [task for task in meant if entry.task in (task.name, task.path)] or meant
    own = [task for task in exact if task.file == entry.file] or exact
    return not any(in_scope(scope, task.path) for task in own)
