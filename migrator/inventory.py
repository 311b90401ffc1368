"""What a project has: legacy tasks and schedules, read from its source without importing any of it.

:func:`check_complete` compares that with the plan and lists everything the plan is silent or wrong about.
"""

from __future__ import annotations

import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from migrator.errors import did_you_mean
from migrator.inventory_called import loading
from migrator.inventory_marks import maker_names, naming, worth_parsing
from migrator.inventory_modules import ModuleFacts, celery_applications, decode_error, read_module
from migrator.inventory_schedule import ScheduleDefinition, schedule_entries
from migrator.inventory_tasks import LegacyDefinition, definitions, unseen
from migrator.plan import Plan
from migrator.report import Finding, Report, Severity
from migrator.source_tree import SourceFiles

__all__ = ["Inventory", "LegacyDefinition", "ScheduleDefinition", "check_complete", "read_inventory", "scan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The legacy tasks and schedules of a project."""

    tasks: tuple[LegacyDefinition, ...]
    schedule: tuple[ScheduleDefinition, ...]
    #: Python files that were read.
    files: int = 0
    #: Files that could not be parsed, and why.
    unreadable: tuple[tuple[Path, str], ...] = ()
    #: Files and lines where a task is made in a way that could not be followed.
    unseen: tuple[tuple[Path, int], ...] = ()


def read_inventory(plan: Plan, sources: SourceFiles | None = None) -> Inventory:
    """Return what the project of a plan has, without the unified tasks and entries that are there already.

    Args:
        plan: Its source is read.
        sources: What was read of it in this run already.
    """
    found = scan(plan.source_root, sources)
    unified_paths = {task.path for task in plan.tasks}
    unified_names = {task.name for task in plan.tasks}
    legacy_paths = {mapping.path for mapping in plan.mappings()}
    entries = {(entry.name, entry.task) for entry in plan.schedule}
    return Inventory(
        tasks=tuple(t for t in found.tasks if t.path in legacy_paths or t.path not in unified_paths),
        schedule=tuple(
            s
            for s in found.schedule
            if s.name.startswith(_legacy_prefixes(plan))
            or (s.name.partition(":")[2], s.task) not in entries
            or s.task not in unified_names
        ),
        files=found.files,
        unreadable=found.unreadable,
        unseen=found.unseen,
    )


def _legacy_prefixes(plan: Plan) -> tuple[str, ...]:
    return tuple(f"{module}:" for endpoint in plan.legacy for module in endpoint.modules)


def scan(root: Path, sources: SourceFiles | None = None) -> Inventory:
    """Return every task and schedule entry declared below ``root``; needs no plan.

    Raises:
        OSError: The folder or a file can't be read.
    """
    modules: dict[str, ModuleFacts] = {}
    unreadable: list[tuple[Path, str]] = []
    sources = sources or SourceFiles(root)
    every = sources.python_files(root)
    inside = len(root.parts)
    rest = [file for file in every if "migrations" not in file.parts[inside:-1]]
    asked: frozenset[str] = frozenset()
    worth: Callable[[bytes], bool] = worth_parsing
    while True:
        rest = _parse(sources, rest, worth, modules, unreadable)
        applications = celery_applications(modules)
        makers = maker_names(modules, applications) - asked
        if not makers:
            break
        asked |= makers
        worth = naming(makers)
    load = loading(root, modules)
    tasks: list[LegacyDefinition] = []
    unfollowed: list[tuple[Path, int]] = []
    for facts in modules.values():
        own = list(definitions(facts, modules, applications, load))
        tasks += own
        lines = {task.line for task in own}
        unfollowed += [(facts.file, line) for line in unseen(facts, modules, applications, lines)]
    names = frozenset(task.path.rpartition(".")[2] for task in tasks)
    return Inventory(
        tasks=tuple(sorted(tasks, key=lambda task: (str(task.file), task.line))),
        schedule=tuple(entry for facts in modules.values() for entry in schedule_entries(facts, names)),
        files=len(every),
        unreadable=tuple(unreadable),
        unseen=tuple(unfollowed),
    )


def _parse(
    sources: SourceFiles,
    files: list[Path],
    worth: Callable[[bytes], bool],
    modules: dict[str, ModuleFacts],
    unreadable: list[tuple[Path, str]],
) -> list[Path]:
    """Parse the files that are worth it; return the others."""
    others = []
    for file in files:
        source = sources.read(file)
        if not worth(source):
            others.append(file)
            continue
        try:
            facts = read_module(sources.root, file, source)
        except (SyntaxError, ValueError, RecursionError, tokenize.TokenError) as error:
            unreadable.append((file, decode_error(error)))
            continue
        modules[facts.name] = facts
    return others


def check_complete(plan: Plan, inventory: Inventory) -> Report:
    """Compare a plan with the project: every silence, unknown name and wrong parameter list, in one go."""
    findings = [
        *_silent_tasks(plan, inventory),
        *_unknown_tasks(plan, inventory),
        *_parameters(plan, inventory),
        *_schedules(plan, inventory),
        *(
            _error("PLAN-UNREADABLE-FILE", str(file), "can't be parsed", why, "correct it: tasks in it are unseen")
            for file, why in inventory.unreadable
        ),
        *(
            Finding(
                code="PLAN-UNSEEN-TASK",
                severity=Severity.WARNING,
                where=f"{file}:{line}",
                what="a task is made here in a way that can't be followed",
                remedy="see that the plan has every task that is made here",
            )
            for file, line in inventory.unseen
        ),
    ]
    return Report(
        subject="plan and source",
        checked=len(inventory.tasks) + len(inventory.schedule),
        findings=tuple(findings),
        facts={"tasks": len(inventory.tasks), "schedule": len(inventory.schedule), "python_files": inventory.files},
    )


def _silent_tasks(plan: Plan, inventory: Inventory) -> Iterator[Finding]:
    for task in inventory.tasks:
        where = f"{task.file}:{task.line}"
        if not task.name:
            yield _error(
                "PLAN-COMPUTED-NAME",
                where,
                f"the name of the {task.system.value} task {task.path} is computed",
                "",
                "write the name out as a string; messages can't be mapped otherwise",
            )
        elif plan.mapping(task.system, task.name) is None and plan.retirement(task.system, task.name) is None:
            yield _error(
                "PLAN-SILENT-TASK",
                where,
                f"the plan is silent about the {task.system.value} task {task.name}",
                "",
                "add it under [[task.replaces]], or under [[retired]] with a reason",
            )


def _unknown_tasks(plan: Plan, inventory: Inventory) -> Iterator[Finding]:
    named = [(m.system, m.name, m.path) for m in plan.mappings()] + [(r.system, r.name, r.path) for r in plan.retired]
    for system, name, path in named:
        known = {task.name: task.path for task in inventory.tasks if task.system is system}
        where = f"{plan.file}: {system.value}:{name}"
        if name not in known:
            yield Finding(
                code="PLAN-UNKNOWN-TASK",
                # It may be made at a place that is listed as unseen.
                severity=Severity.WARNING if inventory.unseen else Severity.ERROR,
                where=where,
                what=f"no {system.value} task of that name is in {plan.project.root}",
                remedy=did_you_mean(name, known) or "remove it, or correct the name",
            )
        elif path not in [task.path for task in inventory.tasks if task.system is system and task.name == name]:
            yield _error(
                "PLAN-PATH", where, "the function lies elsewhere", f"plan says {path}", f"path = {known[name]!r}"
            )


def _parameters(plan: Plan, inventory: Inventory) -> Iterator[Finding]:
    for task in inventory.tasks:
        mapping = plan.mapping(task.system, task.name) if task.name else None
        if mapping and not task.open_ended and mapping.parameters != task.parameters:
            yield _error(
                "PLAN-PARAMETERS",
                f"{plan.file}: {task.system.value}:{task.name}",
                "the parameters are not the source's",
                f"plan says {list(mapping.parameters)}, {task.file}:{task.line} says {list(task.parameters)}",
                f"parameters = {list(task.parameters)}",
            )


def _schedules(plan: Plan, inventory: Inventory) -> Iterator[Finding]:
    named = {name for entry in plan.schedule for name in entry.replaces}
    retired = {entry.name for entry in plan.retired_schedule}
    known = {entry.name for entry in inventory.schedule}
    for entry in inventory.schedule:
        if entry.name.endswith(":"):
            yield _error(
                "PLAN-COMPUTED-NAME",
                f"{entry.file}:{entry.line}",
                "the name of a schedule entry is computed",
                entry.name,
                "write the name out as a string",
            )
        elif entry.name not in named | retired:
            yield _error(
                "PLAN-SILENT-SCHEDULE",
                f"{entry.file}:{entry.line}",
                f"the plan is silent about {entry.name}",
                "",
                "add it to `replaces` of a [[schedule]], or under [[retired_schedule]] with a reason",
            )
    for name in sorted((named | retired) - known):
        yield _error(
            "PLAN-UNKNOWN-SCHEDULE",
            f"{plan.file}: {name}",
            "no schedule entry of that name is in the source",
            "",
            did_you_mean(name, known) or "remove it, or write it as module:entry",
        )
    for name in sorted(named & retired):
        yield _error("PLAN-SCHEDULE-TWICE", f"{plan.file}: {name}", "is replaced and retired", "", "keep one of them")


def _error(code: str, where: str, what: str, found: str, remedy: str) -> Finding:
    return Finding(code=code, severity=Severity.ERROR, where=where, what=what, found=found, remedy=remedy)
