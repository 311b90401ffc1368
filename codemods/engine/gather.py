"""Run the rewrites over a tree: find candidates, survey re-exports until nothing new appears, rewrite."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from codemods.engine.crew import crew
from codemods.engine.policy import read_policy
from codemods.engine.targets import PlanIndex, index_plan
from codemods.engine.work import Outcome
from migrator.inventory_modules import ModuleFacts, celery_applications, read_module
from migrator.inventory_tasks import definitions
from migrator.message import System
from migrator.plan import Plan
from migrator.source_tree import python_files

_ROUNDS = 8


@dataclass(slots=True)
class Found:
    """The files worth parsing."""

    files: dict[Path, bytes] = field(default_factory=dict)
    seen: int = 0


@dataclass(slots=True)
class Gathered:
    """Everything one pass over a tree found."""

    outcomes: list[Outcome] = field(default_factory=list)
    files_seen: int = 0


def build_index(plan: Plan) -> PlanIndex:
    """Return the plan's index with what the legacy modules offer and how the legacy broker is set up."""
    bare = index_plan(plan)
    modules: dict[str, ModuleFacts] = {}
    for name in sorted(bare.modules):
        base = plan.source_root / name.replace(".", "/")
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if file.is_file() and (facts := _facts(plan, file)):
                modules[name] = facts
    applications = celery_applications(modules)
    index = index_plan(plan, applications=applications)
    index = index.with_offered({name: _public(facts) for name, facts in modules.items()})
    own = {path for path, target in index.targets.items() if target.in_place}
    if not own:
        return index
    actors = {
        d.path for f in modules.values() for d in definitions(f, modules, applications) if d.system is System.DRAMATIQ
    }
    return replace(index.with_converted(frozenset(own - actors)), policy=read_policy(_broker_modules(plan)))


def _facts(plan: Plan, file: Path) -> ModuleFacts | None:
    try:
        return read_module(plan.source_root, file, file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return None


def _broker_modules(plan: Plan) -> Iterator[ModuleFacts]:
    for file in python_files(plan.folder):
        data = file.read_bytes()
        if (b"dramatiq" in data and b"Broker" in data) or b"DRAMATIQ_BROKER" in data:
            facts = _facts(plan, file)
            if facts is not None:
                yield facts


def _public(facts: ModuleFacts) -> frozenset[str]:
    """Return what ``from module import *`` brings."""
    listed = facts.values.get("__all__")
    if isinstance(listed, (ast.List, ast.Tuple)):
        return frozenset(e.value for e in listed.elts if isinstance(e, ast.Constant) and isinstance(e.value, str))
    names = set(facts.bindings) | set(facts.values)
    names |= {s.name for s in facts.tree.body if isinstance(s, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}
    return frozenset(name for name in names if not name.startswith("_"))


def candidates(plan: Plan, index: PlanIndex, skip: frozenset[Path], *, words: frozenset[str]) -> Found:
    """Return the files that mention one of the words, with their bytes, and how many files there are."""
    plain = [word.encode("utf-8") for word in sorted(words)]
    pattern = index.pattern()
    found = Found()
    settings = settings_files(plan)
    for file in python_files(plan.folder):
        if "migrations" in file.parts or file in skip:
            continue
        found.seen += 1
        data = file.read_bytes()
        # Searching for plain words is many times faster than the pattern, which only settles what they found.
        if file in settings or (any(word in data for word in plain) and pattern.search(data)):
            found.files[file] = data
    return found


def settings_files(plan: Plan) -> frozenset[Path]:
    """Return where the project's settings module may lie."""
    base = plan.source_root / plan.project.settings.replace(".", "/")
    return frozenset({base.with_suffix(".py"), base / "__init__.py"})


def gather(plan: Plan, index: PlanIndex, *, skip: frozenset[Path], only: Sequence[Path] = ()) -> Gathered:
    """Run every rewrite over the tree of a plan.

    Args:
        plan: Its folder is the tree.
        index: From :func:`build_index`.
        skip: Files that are not looked at.
        only: Files and folders to which changes are restricted; empty for all.
    """
    words = index.words()
    found = candidates(plan, index, skip, words=words)
    with crew(plan.folder, sum(len(data) for data in found.files.values())) as workers:
        known = set(found.files)
        outcomes = workers.take(found.files)
        for _ in range(_ROUNDS):
            exports, renames = workers.survey(index)
            grown = index.with_exports(exports, renames)
            if grown.exports == index.exports and grown.renames == index.renames:
                break
            index = grown
            if index.words() - words:
                more = candidates(plan, index, skip | known, words=index.words() - words)
                words |= index.words()
                known |= set(more.files)
                outcomes += workers.take(more.files)
        outcomes += workers.rewrite(index, tuple(only))
    outcomes.sort(key=lambda outcome: outcome.shown)
    return Gathered(outcomes=outcomes, files_seen=found.seen)
