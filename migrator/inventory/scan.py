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
from migrator.inventory.declarations import TaskMakers
from migrator.inventory.module_facts import ModuleFacts, decode_error, read_module
from migrator.inventory.named_texts import following
from migrator.inventory.parse_cost import too_costly
from migrator.inventory.prefilter import maker_names, naming, worth_parsing
from migrator.inventory.project_decorators import task_makers
from migrator.inventory.source_files import SourceFiles
from migrator.inventory.task_definitions import LegacyDefinition, definitions
from migrator.inventory.unfollowed import Unfollowed, dismissed, own_decorators, unseen


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The legacy tasks and schedules of a project."""

    tasks: tuple[LegacyDefinition, ...]
    schedule: tuple[ScheduleDefinition, ...]
    #: Python files that were read.
    files: int = 0
    #: Files that could not be parsed, and why.
    unreadable: tuple[tuple[Path, str], ...] = ()
    #: Files that are too large to be parsed, and how large.
    too_large: tuple[tuple[Path, str], ...] = ()
    #: Where a task is made, or may be, in a way that could not be followed.
    unseen: tuple[Unfollowed, ...] = ()
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
    makers = _makers(root, sources, every, unreadable)
    modules = makers.modules
    load = loading(root, modules)
    tasks: list[LegacyDefinition] = []
    unfollowed: set[Unfollowed] = set()
    for facts in modules.values():
        own = list(definitions(facts, makers, load))
        tasks += own
        lines = {task.line for task in own}
        unfollowed |= set(unseen(facts, makers, lines, load))
    unfollowed |= own_decorators(makers) - {Unfollowed(*place) for task in tasks for place in task.made_by}
    large = [(file, why) for file, why in unreadable if too_costly(sources.read(file))]
    names = frozenset(task.path.rpartition(".")[2] for task in tasks)
    return Inventory(
        tasks=tuple(sorted(tasks, key=lambda task: (str(task.file), task.line))),
        schedule=tuple(e for facts in modules.values() for e in schedule_entries(following(facts, load), names)),
        files=len(every),
        unreadable=tuple(item for item in unreadable if item not in large),
        too_large=tuple(large),
        unseen=tuple(sorted(place for place in unfollowed if not dismissed(place, sources.read(place.file)))),
        applications=tuple(sorted(name for name in makers.applications.names if name.rpartition(".")[0] in modules)),
    )


def _makers(root: Path, sources: SourceFiles, every: list[Path], unreadable: list[tuple[Path, str]]) -> TaskMakers:
    """Parse what may make tasks, again with each name that is found to make some; return what makes them."""
    modules: dict[str, ModuleFacts] = {}
    inside = len(root.parts)
    rest = [file for file in every if "migrations" not in file.parts[inside:-1]]
    asked: frozenset[str] = frozenset()
    worth: Callable[[bytes], bool] = worth_parsing
    while True:
        rest = _parse(sources, rest, worth, modules, unreadable, root=root)
        makers = task_makers(modules)
        names = maker_names(makers) - asked
        if not names:
            return makers
        asked |= names
        worth = naming(names)


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
        if why := too_costly(source):
            unreadable.append((file, why))
            continue
        try:
            facts = read_module(root, file, source)
        except (SyntaxError, ValueError, RecursionError, tokenize.TokenError) as error:
            unreadable.append((file, decode_error(error)))
            continue
        modules[facts.name] = facts
    return others
