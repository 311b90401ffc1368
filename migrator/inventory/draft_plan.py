"""Draft a plan from the inventory of an unknown project: valid at once, and marked where a person must decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import Table

from migrator.inventory.chosen_programs import Chosen
from migrator.inventory.draft_endpoints import legacy_endpoint, unified_endpoint
from migrator.inventory.draft_policies import actor_priorities, add_policy
from migrator.inventory.draft_processes import DraftScope, process_tables
from migrator.inventory.draft_schedule import draft_schedule
from migrator.inventory.facts.project import ProjectFacts
from migrator.inventory.facts.task_options import TaskOptions, task_options, with_route
from migrator.inventory.scan import Inventory
from migrator.inventory.source_files import python_files
from migrator.inventory.task_definitions import LegacyDefinition
from migrator.plan.decisions import DECIDE
from migrator.wire.message import System

HEADER = """\
Drafted by `migrator init`. Every legacy task found in the source stands below; read each one.
A value that says DECIDE could not be known: every other command refuses the plan until it is written."""

#: Legacy tasks by the path of the unified task proposed for them.
Groups = dict[str, list[LegacyDefinition]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The project that a plan is drafted for."""

    #: Name of the plan.
    name: str
    #: Import root of the Django project, relative to the plan's folder.
    root: str
    #: Dotted settings module, or what is to be decided about it.
    settings: str
    #: Folder of the plan.
    folder: Path
    #: Patterns of the modules whose tasks the plan is about; empty for all.
    scope: tuple[str, ...] = ()
    #: What is to be decided about the project's interpreter; empty where it is clear.
    python: str = ""
    #: The Celery app that unified workers run, as ``-A`` takes it.
    app: str = "tasks"

    @property
    def project(self) -> Mapping[str, str]:
        """The table of the plan."""
        python = {"python": self.python} if self.python else {}
        return {"root": self.root, "settings": self.settings, **python}


def draft_plan(
    subject: Subject,
    inventory: Inventory,
    facts: ProjectFacts,
    *,
    processes: Sequence[Chosen] = (),
    scheduler_jobs: Mapping[str, str] | None = None,
    into: str = "",
) -> str:
    """Return the text of a plan that maps each legacy task to itself, or to the one of its name in a unified module.

    Args:
        subject: The project.
        inventory: What was found in its source.
        facts: What the source says besides.
        processes: What deployment files say about processes.
        scheduler_jobs: When jobs of other schedulers run, by ``module:entry``, as the plan writes it.
        into: The unified module; if empty, each task's own function becomes the Celery task.
    """
    document = tomlkit.document()
    document.add(tomlkit.comment(HEADER))
    document["migration"] = {"name": subject.name}
    document["project"] = subject.project
    document |= {"scope": {"modules": list(subject.scope)}} if subject.scope else {}
    options = {task: task_options(task, facts.values) for task in inventory.tasks}
    legacy = tomlkit.table(is_super_table=True)
    for system in System:
        own = [(t, options[t]) for t in inventory.tasks if t.system is system and module_of(t) != into]
        if own:
            legacy[system.value] = legacy_endpoint(system, own, facts, processes)
    document["legacy"] = legacy
    options = _routed(options, facts)
    written = [item for item in options.items() if module_of(item[0]) == into]
    document["unified"] = unified_endpoint(legacy.unwrap(), facts, written)
    tables, successors = _tasks(inventory, options, document.unwrap(), facts, into)
    document["task"] = _array(tables)
    kept, left = draft_schedule(inventory.schedule, successors, facts.values, scheduler_jobs or {})
    document |= {key: _array(found) for key, found in (("schedule", kept), ("retired_schedule", left)) if found}
    _add_processes(document, processes, subject)
    return tomlkit.dumps(document)


def _routed(
    options: Mapping[LegacyDefinition, TaskOptions], facts: ProjectFacts
) -> dict[LegacyDefinition, TaskOptions]:
    routes = facts.brokers.setting("task_routes")
    return {task: with_route(task, given, routes.value if routes else None) for task, given in options.items()}


def _tasks(
    inventory: Inventory,
    options: Mapping[LegacyDefinition, TaskOptions],
    plan: Mapping[str, Any],
    facts: ProjectFacts,
    into: str,
) -> tuple[list[Table], list[tuple[LegacyDefinition, str, list[str]]]]:
    """Return the unified tasks, and each legacy task with the name of the one that it becomes."""
    written = {task.path: task for task in inventory.tasks if task.system is System.CELERY}
    actors = actor_priorities(options.items())
    by_place = {(task.file, task.line): found for task, found in options.items()}
    tables, successors = [], []
    for path, group in grouped(inventory.tasks, into=into).items():
        table = _task(path, group, written.get(path))
        declared = [(task, by_place[task.file, task.line]) for task in group]
        own = [(task, options[task])] if (task := written.get(path)) and task not in group else []
        add_policy(table, declared, plan, actors, facts.max_retries, written=own)
        tables.append(table)
        successors += [(task, str(table["name"]), [str(name) for name in table["parameters"]]) for task in group]
    return tables, successors


def _add_processes(document: tomlkit.TOMLDocument, chosen: Sequence[Chosen], subject: Subject) -> None:
    if not chosen:
        document.add(tomlkit.comment("No worker, scheduler or producer was found in deployment files;"))
        document.add(tomlkit.comment("before a cutover, write each as a [[process]], legacy and unified."))
        return
    plan = document.unwrap()
    scope = DraftScope(
        folder=subject.folder,
        root=subject.root,
        app=subject.app,
        queues=tuple(plan["unified"]["queues"]),
        legacy={System(name): tuple(table["queues"]) for name, table in plan["legacy"].items()},
        moves=_moves(plan),
        scheduled="schedule" in plan,
    )
    document["process"] = _array(process_tables(chosen, scope))


def _moves(plan: Mapping[str, Any]) -> dict[tuple[System, str], set[str]]:
    """Return the unified queues of the tasks that a legacy queue has, for each legacy queue that has any."""
    found: dict[tuple[System, str], set[str]] = {}
    for task in plan["task"]:
        for old in task["replaces"]:
            queue = old.get("queue") or plan["legacy"][old["system"]]["queues"][0]
            own = task.get("queue") or plan["unified"]["queues"][0]
            found.setdefault((System(old["system"]), queue), set()).add(own)
    return found


def grouped(tasks: Iterable[LegacyDefinition], *, into: str = "") -> Groups:
    """Return the tasks by the path of the unified task proposed for them; computed names are left out.

    Tasks of one name and one system in different modules are different tasks: none of them can be known to be the one
    of the unified module, so each keeps its place. So do those that a unified module which is written already lacks.
    """
    found = list(tasks)
    written = {task.path for task in found if module_of(task) == into}
    chosen = list(_told_apart(task for task in found if task.path not in written))
    leaves = Counter((task.system, _leaf(task)) for task in chosen)
    groups: Groups = {}
    for task in chosen:
        moves = into and leaves[task.system, _leaf(task)] == 1
        moves = moves and (not written or f"{into}.{_leaf(task)}" in written)
        groups.setdefault(f"{into}.{_leaf(task)}" if moves else task.path, []).append(task)
    return groups


def _told_apart(tasks: Iterable[LegacyDefinition]) -> Iterator[LegacyDefinition]:
    """Yield the tasks, of those with the same name on the wire only one: messages can't tell them apart."""
    found: dict[tuple[System, str], list[LegacyDefinition]] = {}
    for task in tasks:
        if task.name:
            found.setdefault((task.system, task.name), []).append(task)
    for first, *others in found.values():
        paths = " or ".join(task.path for task in (first, *others))
        yield replace(first, path=f"{DECIDE}: {paths}") if others else first


def _leaf(task: LegacyDefinition) -> str:
    return function_of(task).removesuffix("_task")


def module_of(task: LegacyDefinition) -> str:
    """Return the dotted module that defines a task."""
    return task.path.rpartition(".")[0]


def function_of(task: LegacyDefinition) -> str:
    """Return the name of a task's function."""
    return task.path.rpartition(".")[2]


def _task(path: str, group: list[LegacyDefinition], written: LegacyDefinition | None) -> Table:
    table = tomlkit.table()
    table["name"] = (written and written.name) or path
    table["path"] = path
    parameters = list(dict.fromkeys(parameter for task in group for parameter in task.parameters))
    if written and written not in group:
        parameters = list(written.parameters)
    elif any(list(task.parameters) != parameters for task in group):
        parameters.append(f"{DECIDE}: the legacy tasks take different arguments; see `arguments` in the README")
    elif any(task.open_ended for task in group) and not parameters:
        parameters.append(f"{DECIDE}: they can't be read; write the names that callers use")
    table["parameters"] = parameters
    table["priority"] = "MEDIUM"
    table["replaces"] = _array(
        {
            **_replaced(task, primary=index == 0, single=len(group) == 1),
            **(_arguments(task, written) if written else {}),
        }
        for index, task in enumerate(group)
    )
    return table


def _replaced(task: LegacyDefinition, *, primary: bool, single: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"system": task.system.value, "name": task.name, "path": task.path}
    entry["parameters"] = list(task.parameters)
    if primary and not single:
        entry["primary"] = True
    return entry


def _arguments(task: LegacyDefinition, written: LegacyDefinition) -> dict[str, Any]:
    """Return a decision for each parameter that the unified task doesn't have."""
    own = [name for name in written.parameters if name not in task.parameters]
    choice = f"{DECIDE}: {' or '.join(own) or 'nothing fits'}; or wrap or drop it"
    lacking = [name for name in task.parameters if name not in written.parameters]
    return {"arguments": [{"rename": name, "to": choice} for name in lacking]} if lacking else {}


def _array(tables: Iterable[Any]) -> Any:
    array = tomlkit.aot()
    for content in tables:
        table = tomlkit.table()
        table.update(content)
        array.append(content if isinstance(content, Table) else table)
    return array


def import_root(folder: Path) -> str:
    """Return the folder of the ``manage.py`` that lies highest below ``folder``, relative to it; ``.`` if none is."""
    found = (file.relative_to(folder).parent for file in python_files(folder) if file.name == "manage.py")
    return min((path.as_posix() for path in found), key=lambda path: (path.count("/"), path), default=".")
