"""Run the rewrites over a tree: find candidates, survey re-exports until nothing new appears, rewrite."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from codemods.calls.in_place_actors import waiting, with_in_place, with_left_behind
from codemods.install.celery_app import needs_app
from codemods.outcome import FileOutcome
from codemods.pipeline.containers_fixpoint import follow_containers
from codemods.pipeline.formatting import keep_formatted
from codemods.pipeline.names_fixpoint import follow_names
from codemods.pipeline.other_projects import other_tasks
from codemods.pipeline.prefilter import prefilter
from codemods.pipeline.process_pool import ProcessPool
from codemods.plan.plan_index import PlanIndex, index_plan
from codemods.plan.sister_packages import LEGACY, needing_packages
from codemods.schedules.places import decide_places
from migrator.inventory.callables import loading
from migrator.inventory.module_facts import ModuleFacts, read_module
from migrator.inventory.project_decorators import task_makers, with_imported
from migrator.inventory.scan import scan
from migrator.inventory.source_files import SourceFiles, module_file, module_files
from migrator.inventory.staying import staying
from migrator.inventory.task_definitions import definitions
from migrator.plan.model import Plan
from migrator.wire.message import System

_ROUNDS = 8

WhileParsing = Callable[[SourceFiles], None]


@dataclass(slots=True)
class ProjectPass:
    """Everything one pass over a tree found."""

    outcomes: list[FileOutcome] = field(default_factory=list)
    files_seen: int = 0


def build_index(plan: Plan, sources: SourceFiles | None = None) -> PlanIndex:
    """Return the plan's index with what the legacy modules offer and how the legacy broker is set up.

    Args:
        plan: Its folder is the tree.
        sources: What was read of it in this run already.
    """
    sources = sources or SourceFiles(plan.folder)
    bare = index_plan(plan)
    modules: dict[str, ModuleFacts] = {}
    for name in sorted(bare.modules):
        if facts := _facts(plan, name):
            modules[name] = facts
    load = loading(plan.source_root, modules)
    makers = task_makers(with_imported(modules, load))
    index = index_plan(plan, applications=frozenset(makers.applications.names))
    index = replace(index, offered={name: _public(facts) for name, facts in modules.items()})
    index = replace(
        index,
        named_by_unified=_named_by_unified(plan, index),
        needing_dramatiq=needing_packages(plan.folder),
        needs_app=needs_app(plan, sources),
    )
    if plan.scope:
        left = staying(plan, scan(plan.source_root, sources))
        index = replace(index, stays={task.path: task.system for task in left.tasks})
    index = decide_places(plan, index, sources)
    own = {path for path, target in index.targets.items() if target.in_place}
    if not own:
        return index
    found = [d for facts in modules.values() for d in definitions(facts, makers, load)]
    actors = {definition.path for definition in found if definition.system is System.DRAMATIQ}
    # What was an actor is converted, unless a function stands in its place under decorators that make no Celery task.
    tasks = {definition.path for definition in found if definition.system is System.CELERY}
    decorated = {f"{facts.name}.{name}" for facts in modules.values() for name in _decorated(facts)}
    others = {path for path in decorated - tasks if path in own and index.targets[path].system is System.DRAMATIQ}
    converted = own - others - actors
    index = with_left_behind(index.with_converted(frozenset(converted)), frozenset(actors))
    return with_in_place(plan, index, modules, sources)


def _facts(plan: Plan, module: str) -> ModuleFacts | None:
    file = module_file(plan.source_root, module)
    try:
        return read_module(plan.source_root, file, file.read_bytes()) if file else None
    except (SyntaxError, ValueError, OSError):
        return None


def _decorated(facts: ModuleFacts) -> Iterator[str]:
    for statement in facts.tree.body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)) and statement.decorator_list:
            yield statement.name


def _named_by_unified(plan: Plan, index: PlanIndex) -> frozenset[str]:
    """Return the dotted paths that the unified modules name, as far as they have files already."""
    homes = {target.unified_path.rpartition(".")[0] for target in index.targets.values() if not target.in_place}
    read = [facts for home in sorted(homes - {""}) if (facts := _facts(plan, home))]
    return frozenset(
        facts.dotted(node) for facts in read for node in facts.nodes if isinstance(node, (ast.Name, ast.Attribute))
    )


def _public(facts: ModuleFacts) -> frozenset[str]:
    """Return what ``from module import *`` brings."""
    listed = facts.values.get("__all__")
    if isinstance(listed, (ast.List, ast.Tuple)):
        return frozenset(e.value for e in listed.elts if isinstance(e, ast.Constant) and isinstance(e.value, str))
    names = set(facts.bindings) | set(facts.values)
    names |= {s.name for s in facts.tree.body if isinstance(s, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}
    return frozenset(name for name in names if not name.startswith("_"))


def own_files(plan: Plan, sources: SourceFiles, skip: frozenset[Path]) -> list[Path]:
    """Return the Python files that may be rewritten: no migrations, none of those to skip."""
    inside = len(plan.folder.parts)
    return [f for f in sources.python_files() if f not in skip and "migrations" not in f.parts[inside:-1]]


def candidates(
    files: Iterable[Path], worth: Callable[[bytes], bool], always: frozenset[Path], read: Callable[[Path], bytes]
) -> Iterator[tuple[Path, bytes | None]]:
    """Yield the files that are worth parsing, and those of ``always``, with their bytes; None if unreadable."""
    for file in files:
        try:
            data = read(file)
        except OSError:
            yield file, None
            continue
        if file in always or worth(data):
            yield file, data


def settings_files(plan: Plan, index: PlanIndex) -> frozenset[Path]:
    """Return where settings and the schedule may have to be completed."""
    places = index.beat
    named = {plan.project.settings, *places.settings, places.problem_at.partition(":")[0]}
    named |= {place.module for place in (places.home, places.queue, places.apps) if place is not None}
    return frozenset(file for name in named if name for file in module_files(plan.source_root, name))


def _with_patches(workers: ProcessPool, index: PlanIndex, outcomes: list[FileOutcome]) -> list[FileOutcome]:
    """Return the outcomes with the patches left alone that observe a send which stays, in whichever file."""
    kept = {path: f"{o.shown}:{line}" for o in reversed(outcomes) for path, line in reversed(o.kept_sends)}
    again = tuple(outcome.file for outcome in outcomes if outcome.patched & kept.keys())
    if not again:
        return outcomes
    changed = {outcome.file: outcome for outcome in workers.rewrite(replace(index, kept_sends=kept), again)}
    return [changed.get(outcome.file, outcome) for outcome in outcomes]


def rewrite_project(
    plan: Plan,
    index: PlanIndex,
    workers: ProcessPool,
    *,
    skip: frozenset[Path],
    only: Sequence[Path] = (),
    while_parsing: WhileParsing | None = None,
) -> ProjectPass:
    """Run every rewrite over the tree of a plan.

    Args:
        plan: Its folder is the tree.
        index: From :func:`build_index`.
        workers: They do the work.
        skip: Files that are not looked at.
        only: Files and folders to which changes are restricted; empty for all.
        while_parsing: Called once while other processes parse, with what was read of the tree.
    """
    words = index.words()
    files = own_files(plan, workers.sources, skip)
    known: set[Path] = set()

    def add(worth: Callable[[bytes], bool], always: frozenset[Path] = frozenset()) -> None:
        others = [file for file in files if file not in known] if known else files
        for file, data in candidates(others, worth, always, workers.sources.read):
            workers.add(file, data)
            known.add(file)

    package = {plan.source_root / index.package / "__init__.py"} if index.needs_app else set()
    add(prefilter(words, index.leaves(), {LEGACY, *index.needing_dramatiq}), settings_files(plan, index) | package)
    workers.begin()
    if while_parsing is not None:
        while_parsing(workers.sources)
    actors = frozenset(path for paths in waiting(index).values() for path in paths)
    if actors:
        index = index.with_stuck(actors - workers.converted(index))
    for _ in range(_ROUNDS):
        found = workers.survey(index)
        grown = index.with_exports(found.exports, found.renames)
        if (grown.exports, grown.renames, grown.stays) == (index.exports, index.renames, index.stays):
            break
        index = grown
        fresh = index.words() - words
        if fresh:
            words |= fresh
            add(prefilter(fresh))
    index = follow_names(workers, index, found.names, add)
    index = follow_containers(workers, index, add)
    outcomes = keep_formatted(plan, _with_patches(workers, index, workers.rewrite(index, tuple(only))))
    if not only:
        outcomes += other_tasks(plan, index, workers.sources)
    outcomes.sort(key=lambda outcome: outcome.shown)
    return ProjectPass(outcomes=outcomes, files_seen=len(files))
