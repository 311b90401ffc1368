"""Names of a plan that must be there once, and those that must be there at all."""

from __future__ import annotations

from collections.abc import Iterable

from migrator.errors import did_you_mean
from migrator.plan.model import Plan
from migrator.plan.toml_table import Problems


def check_names(plan: Plan, problems: Problems) -> None:
    """Add what is named twice, and what names nothing."""
    legacy = [
        (f"task[{index}].replaces[{inner}]", f"{mapping.system.value}:{mapping.name}")
        for index, task in enumerate(plan.tasks)
        for inner, mapping in enumerate(task.replaces)
    ]
    legacy += [(f"retired[{index}]", f"{item.system.value}:{item.name}") for index, item in enumerate(plan.retired)]
    _once(legacy, problems, "is mapped or retired", "name each legacy task once")
    _once(((f"task[{i}]", task.name) for i, task in enumerate(plan.tasks)), problems)
    _once(((f"schedule[{i}]", entry.name) for i, entry in enumerate(plan.schedule)), problems)
    _once(((f"process[{i}]", process.name) for i, process in enumerate(plan.processes)), problems)
    known = [task.name for task in plan.tasks]
    for index, entry in enumerate(plan.schedule):
        if entry.task not in known:
            problems.add(
                f"schedule[{index}].task", f"{entry.task!r} is no unified task", did_you_mean(entry.task, known)
            )
    if not plan.tasks:
        problems.add("task", "the plan maps nothing", "add at least one [[task]]")
    if not plan.legacy:
        problems.add("legacy", "names no system", "add [legacy.dramatiq] or [legacy.celery]")


def _once(
    named: Iterable[tuple[str, str]], problems: Problems, what: str = "is there", hint: str = "names are unique"
) -> None:
    places: dict[str, list[str]] = {}
    for path, name in named:
        places.setdefault(name, []).append(f"{path}.name")
    for name, paths in places.items():
        if len(paths) > 1:
            problems.add(paths[1], f"{name!r} {what} {len(paths)} times", hint)
