"""What must be known about a project before actors can be converted where they stand.

The middleware of its broker, the priorities of all actors, and what other files share with them. Which actors can't be
converted is found by a first pass over their files (:func:`waiting`), because their callers must stay as they are too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from codemods.plan.plan_index import PlanIndex
from codemods.plan.policy import ACTORS, number, read_policy
from migrator.inventory.module_facts import ModuleFacts, read_module
from migrator.inventory.source_files import SourceFiles, module_file
from migrator.plan.model import Plan
from migrator.wire.message import System

_APPS = re.compile(rb"[\"'](?:django_dramatiq|django_periodiq|dramatiq_crontab)(?:\.apps\.\w+)?[\"']")
_SETTING = re.compile(rb"\bDRAMATIQ_[A-Z_]+\b")
_KINDS = {"redis": "redis", "rediss": "redis", "amqp": "rabbitmq", "amqps": "rabbitmq", "pyamqp": "rabbitmq"}


def with_in_place(plan: Plan, index: PlanIndex, modules: Mapping[str, ModuleFacts], sources: SourceFiles) -> PlanIndex:
    """Return the index with what converting actors needs, except which of them can't be.

    Args:
        plan: Its folder is the tree.
        index: Knows the targets, and which are converted already.
        modules: The legacy modules.
        sources: The tree.
    """
    words = {name: facts for facts in modules.values() for name in _shareable(facts)}
    settings = {name: module_file(plan.source_root, name) for name in {plan.project.settings, *index.beat.settings}}
    brokers, shared = _read_all(plan, set(settings.values()), words, sources)
    priorities = {0} | {value for facts in modules.values() for value in _priorities(facts)}
    targets = {
        path: replace(target, members=_members(modules, path)) if target.in_place else target
        for path, target in index.targets.items()
    }
    naming = {name for name, file in settings.items() if file is not None and _APPS.search(sources.read(file))}
    return replace(
        index,
        targets=targets,
        dramatiq_apps=frozenset(naming),
        policy=read_policy(brokers),
        priorities=tuple(sorted(priorities)),
        broker_kind=broker_kind(plan.unified.url),
        shared=frozenset(shared),
    )


def with_left_behind(index: PlanIndex, actors: frozenset[str]) -> PlanIndex:
    """Return the index with the actors marked that are replaced elsewhere and whose module is converted.

    Args:
        index: Knows the targets.
        actors: Dotted paths of those that are actors still.
    """
    known = {path: target for path, target in index.targets.items() if target.system is System.DRAMATIQ}
    homes = {path.rpartition(".")[0] for path, target in known.items() if target.in_place}
    left = {p for p, t in known.items() if not (t.in_place or t.retired) and p.rpartition(".")[0] in homes}
    marked = {p: replace(index.targets[p], left_behind=True, plain=p not in actors) for p in left}
    return replace(index, targets={**index.targets, **marked})


def waiting(index: PlanIndex) -> dict[str, frozenset[str]]:
    """Return the definitions that are still to be converted where they stand, by their module."""
    found: dict[str, set[str]] = {}
    for path, target in index.targets.items():
        if (target.in_place and not target.converted) or (target.left_behind and not target.plain):
            found.setdefault(path.rpartition(".")[0], set()).add(path)
    return {
        module: frozenset(paths)
        for module, paths in found.items()
        if any(index.targets[path].system is System.DRAMATIQ for path in paths)
    }


def broker_kind(url: str) -> str:
    """Return what a broker's URL names, its default included; empty if it can't be known."""
    schemes = set(re.findall(r"\b([a-z]+)://", url))
    kinds = {_KINDS.get(scheme, "") for scheme in schemes}
    return kinds.pop() if len(kinds) == 1 else ""


def _read_all(
    plan: Plan, settings: Collection[Path | None], words: Mapping[str, ModuleFacts], sources: SourceFiles
) -> tuple[list[ModuleFacts], set[str]]:
    """Read every file once, for those that set up a broker and for what other files mention."""
    brokers, shared = [], set()
    plain = {word: word.encode() for word in words}
    for file in sources.python_files():
        data = sources.read(file)
        if (b"dramatiq" in data and b"Broker" in data) or b"DRAMATIQ_BROKER" in data or file in settings:
            try:
                brokers.append(read_module(plan.source_root, file, data))
            except (SyntaxError, ValueError):
                continue
        if file not in settings and b"DRAMATIQ_" in data:
            shared |= {match.group().decode() for match in _SETTING.finditer(data)}
        for word, encoded in plain.items():
            if encoded in data and words[word].file != file and re.search(rb"\b%s\b" % re.escape(encoded), data):
                shared.add(f"{words[word].name}.{word}")
    return brokers, shared


def _shareable(facts: ModuleFacts) -> Iterator[str]:
    """Yield the partials and classes of a module that other files may use."""
    for statement in facts.tree.body:
        if isinstance(statement, ast.ClassDef):
            yield statement.name
    for name, value in facts.values.items():
        if isinstance(value, ast.Call) and facts.dotted(value.func) == "functools.partial":
            yield name


def _priorities(facts: ModuleFacts) -> Iterator[int]:
    for node in ast.walk(facts.tree):
        values: list[ast.expr] = []
        if isinstance(node, ast.Call):
            names = [facts.dotted(node.func), *(facts.dotted(arg) for arg in node.args[:1])]
            made = facts.values.get(node.func.id) if isinstance(node.func, ast.Name) else None
            if ACTORS & set(names) or isinstance(made, ast.Call):
                values += [keyword.value for keyword in node.keywords if keyword.arg == "priority"]
        elif isinstance(node, ast.ClassDef) and node.name == "Meta":
            values += [
                item.value
                for item in node.body
                if isinstance(item, ast.Assign)
                and any(isinstance(target, ast.Name) and target.id == "priority" for target in item.targets)
            ]
        for value in values:
            found = number(facts, value)
            if found is None and isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
                inner = number(facts, value.operand)
                found = None if inner is None else -inner
            if found is not None:
                yield int(found)


def _members(modules: Mapping[str, ModuleFacts], path: str) -> frozenset[str]:
    """Return the names that a class and its bases in the same file define; empty for a function."""
    module, _, name = path.rpartition(".")
    facts = modules.get(module)
    if facts is None:
        return frozenset()
    classes = {s.name: s for s in facts.tree.body if isinstance(s, ast.ClassDef)}
    found: set[str] = set()
    waiting = [name]
    while waiting:
        node = classes.pop(waiting.pop(), None)
        if node is None:
            continue
        waiting += [base.id for base in node.bases if isinstance(base, ast.Name)]
        for item in node.body:
            if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found.add(item.name)
            elif isinstance(item, (ast.Assign, ast.AnnAssign)):
                targets = item.targets if isinstance(item, ast.Assign) else [item.target]
                found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(found)
