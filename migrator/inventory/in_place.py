"""Which legacy tasks become unified in place, and whether a tree still has them as they were.

In place a task has one path for both sides: before the rewrite it is an actor, after it a Celery task. So a tree is of
one side or of the other, and what needs the legacy side needs a tree from before the rewrite
(:mod:`migrator.project.legacy_tree`).
"""

from __future__ import annotations

from pathlib import Path

from migrator.inventory.scan import scan
from migrator.inventory.source_files import module_file
from migrator.plan.model import Plan, RetiredTask, TaskMapping
from migrator.wire.message import System


def in_place(plan: Plan) -> tuple[TaskMapping, ...]:
    """Return the actors whose own function becomes the unified task."""
    paths = {task.name: task.path for task in plan.tasks}
    return tuple(m for m in plan.mappings() if m.system is System.DRAMATIQ and m.path == paths[m.unified])


def converted(plan: Plan, root: Path) -> tuple[TaskMapping, ...]:
    """Return those of them that are no actors in the source below ``root``."""
    wanted = in_place(plan)
    if not wanted:
        return ()
    actors = {(task.name, task.path) for task in scan(root).tasks if task.system is System.DRAMATIQ}
    return tuple(mapping for mapping in wanted if (mapping.name, mapping.path) not in actors)


def waiting(plan: Plan, root: Path) -> tuple[TaskMapping, ...]:
    """Return those of them that are still actors there."""
    gone = converted(plan, root)
    return tuple(mapping for mapping in in_place(plan) if mapping not in gone)


def undefined(plan: Plan, root: Path, system: System | None) -> tuple[str, ...]:
    """Return the legacy tasks of the plan that nothing below ``root`` defines.

    Where tasks are made in a way that can't be followed, only those are named whose module is gone.
    """
    wanted: list[TaskMapping | RetiredTask] = [*plan.mappings(), *plan.retired]
    inventory = scan(root)
    there = {(task.system, task.name) for task in inventory.tasks}
    return tuple(
        task.name
        for task in wanted
        if system in (None, task.system)
        and (task.system, task.name) not in there
        and not (inventory.unseen and module_file(root, task.path.rpartition(".")[0]))
    )
