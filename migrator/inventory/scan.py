"""What a project has: legacy tasks and schedules, read from its source without importing any of it.

:mod:`migrator.inventory.plan_check` compares that with a plan.
"""

from __future__ import annotations

import tokenize
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from migrator.inventory.beat_entries import ScheduleDefinition, schedule_entries
from migrator.inventory.callables import loading
from migrator.inventory.module_facts import ModuleFacts, celery_applications, decode_error, read_module
from migrator.inventory.prefilter import maker_names, naming, worth_parsing
from migrator.inventory.source_files import SourceFiles
from migrator.inventory.task_definitions import LegacyDefinition, definitions, unseen


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
    #: Dotted names of what is assigned a Celery app.
    applications: tuple[str, ...] = ()


def scan(root: Path, sources: SourceFiles | None = None) -> Inventory:
    """Return every task and schedule entry declared below ``root``; needs no plan.

    Args:
        root: The import root: module names are relative to it.
        sources: What was read in this run already, of this folder or one around it.

    Raises:
        OSError: The folder or a file can't be read.
    """
    sources = sources or SourceFiles(root)
    every = sources.python_files(root)
    unreadable: list[tuple[Path, str]] = []
    modules, applications = _modules(root, sources, every, unreadable)
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
        applications=tuple(sorted(applications)),
    )


def _modules(
    root: Path, sources: SourceFiles, every: list[Path], unreadable: list[tuple[Path, str]]
) -> tuple[dict[str, ModuleFacts], frozenset[str]]:
    """Parse what may make tasks, again with each name that is found to make some; return modules and Celery apps."""
    modules: dict[str, ModuleFacts] = {}
    inside = len(root.parts)
    rest = [file for file in every if "migrations" not in file.parts[inside:-1]]
    asked: frozenset[str] = frozenset()
    worth: Callable[[bytes], bool] = worth_parsing
    while True:
        rest = _parse(sources, rest, worth, modules, unreadable, root=root)
        applications = celery_applications(modules)
        makers = maker_names(modules, applications) - asked
        if not makers:
            return modules, applications
        asked |= makers
        worth = naming(makers)


def _parse(
    sources: SourceFiles,
    files: list[Path],
    worth: Callable[[bytes], bool],
    modules: dict[str, ModuleFacts],
    unreadable: list[tuple[Path, str]],
    *,
    root: Path,
) -> list[Path]:
    """Parse the files that are worth it; return the others."""
    others = []
    for file in files:
        source = sources.read(file)
        if not worth(source):
            others.append(file)
            continue
        try:
            facts = read_module(root, file, source)
        except (SyntaxError, ValueError, RecursionError, tokenize.TokenError) as error:
            unreadable.append((file, decode_error(error)))
            continue
        modules[facts.name] = facts
    return others
