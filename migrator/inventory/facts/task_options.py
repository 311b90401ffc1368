"""What a task's own declaration says: queue, priority, retries. Read where the inventory has found it."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from migrator.inventory.callables import Load, project_class
from migrator.inventory.module_facts import ModuleFacts
from migrator.inventory.static_values import StaticValues, UnknownValueError
from migrator.inventory.task_definitions import LegacyDefinition
from migrator.inventory.unpacked_options import Option, Options, unpacked
from migrator.wire.message import System

#: Options that the plan has a key for.
_PLANNED = ("max_retries", "priority", "queue_name")
_DEPTH = 10
_NAMES = frozenset({"name", "actor_name", "base", "bind", "broker"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """Options of one task."""

    values: Mapping[str, Any] = field(default_factory=dict)
    #: Those whose value can't be known, with their text.
    computed: Mapping[str, str] = field(default_factory=dict)
    #: It calls ``self.retry``.
    retries_itself: bool = False

    @property
    def text(self) -> str:
        """The options as they are written, without what the plan has keys for."""
        shown = {name: repr(value) for name, value in self.values.items()} | dict(self.computed)
        return ", ".join(f"{name}={value}" for name, value in shown.items() if name not in _NAMES)


def task_options(task: LegacyDefinition, values: StaticValues) -> TaskOptions:
    """Return the options of a task; none if its declaration can't be followed."""
    facts = values.load(task.path.rpartition(".")[0])
    if facts is None or facts.file != task.file:
        return TaskOptions()
    node = next((item for item in facts.nodes if _declares(item, task)), None)
    read: dict[str, Any] = {}
    given, unknown = _given(facts, node, values.load)
    computed = dict.fromkeys(_PLANNED, unknown) if unknown else {}
    for name, option in given.items():
        computed.pop(name, None)
        try:
            value = values.of(option.facts, option.node)
        except UnknownValueError as error:
            computed[name] = str(error)
            continue
        # The plan reads only brokers and processes from the environment.
        (computed if "${" in str(value) else read)[name] = value
    retries = node is not None and any(_is_retry(item) for item in ast.walk(node))
    return TaskOptions(values=read, computed=computed, retries_itself=retries)


def _declares(node: ast.AST, task: LegacyDefinition) -> bool:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign)
    return isinstance(node, kinds) and node.lineno == task.line


def _given(facts: ModuleFacts, node: ast.AST | None, load: Load) -> tuple[Options, str]:
    """Return the options of a declaration, and what further ones are unpacked from that can't be followed."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return _of_calls(facts, node.decorator_list, load)
    if isinstance(node, ast.Assign):
        calls = [item for item in ast.walk(node.value) if isinstance(item, ast.Call)]
        return _of_calls(facts, calls, load)
    if isinstance(node, ast.ClassDef):
        owner, meta = _meta(facts, node, load) or (facts, node)
        return {
            target.id: Option(owner, item.value)
            for item in meta.body
            if isinstance(item, ast.Assign)
            for target in item.targets
            if isinstance(target, ast.Name)
        }, ""
    return {}, ""


def _meta(
    facts: ModuleFacts, node: ast.ClassDef, load: Load, depth: int = 0
) -> tuple[ModuleFacts, ast.ClassDef] | None:
    """Return the ``Meta`` of a class or of the nearest of its bases: only one counts."""
    own = next((item for item in node.body if isinstance(item, ast.ClassDef) and item.name == "Meta"), None)
    if own is not None:
        return facts, own
    bases = (project_class(facts, base, load) for base in (node.bases if depth < _DEPTH else ()))
    return next((found for base in bases if base is not None and (found := _meta(*base, load, depth + 1))), None)


def _of_calls(facts: ModuleFacts, nodes: Sequence[ast.expr], load: Load) -> tuple[Options, str]:
    """Return the keywords of decorators, those of a ``partial`` behind a name included."""
    found: Options = {}
    unknown = ""
    for node in nodes:
        target = node.func if isinstance(node, ast.Call) else node
        made = facts.values.get(target.id) if isinstance(target, ast.Name) else None
        for call in (made, node):
            for item in call.keywords if isinstance(call, ast.Call) else ():
                more = {item.arg: Option(facts, item.value)} if item.arg else unpacked(facts, item.value, load)
                found |= more or {}
                unknown = ast.unparse(item.value) if more is None else unknown
    return found, unknown


def _is_retry(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "retry"


def queue_of(task: LegacyDefinition, options: TaskOptions) -> str | None:
    """Return the queue that a task names; empty if it names none, None if it is computed."""
    key = "queue_name" if task.system is System.DRAMATIQ else "queue"
    if key in options.computed:
        return None
    given = options.values.get(key) or ""
    return given if isinstance(given, str) else None


def routers(routes: object) -> list[Mapping[str, Any]] | None:
    """Return the tables of ``task_routes`` in the order in which they are asked; None if a function or class is.

    Source: ``celery/app/routes.py`` (``prepare``: one router or a list; one is a mapping, pairs, a callable, its path).
    """
    found: list[Mapping[str, Any]] = []
    for router in routes if isinstance(routes, list) else [routes]:
        if isinstance(router, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in router):
            found.append({str(name): route for name, route in router})
        elif isinstance(router, dict):
            found.append(router)
        else:
            return None
    return found


def with_route(task: LegacyDefinition, options: TaskOptions, routes: object) -> TaskOptions:
    """Return the options with the queue that ``task_routes`` gives a task: one of its own goes before.

    Source: ``celery/app/routes.py`` (``MapRoute``: a whole name goes before the first pattern).
    """
    own = "queue" in {*options.values, *options.computed}
    if own or task.system is not System.CELERY or not task.name:
        return options
    for router in routers(routes) or ():
        fitting = (pattern for pattern in router if "*" in str(pattern) and fnmatchcase(task.name, str(pattern)))
        route = router.get(task.name if task.name in router else next(fitting, ""))
        if queue := route_queue(route):
            return replace(options, values={**options.values, "queue": queue})
        if route is not None:
            break
    return options


def route_queue(route: object) -> str:
    """Return the queue that a route names; empty if it names none."""
    queue = route.get("queue") if isinstance(route, dict) else route
    return queue if isinstance(queue, str) else ""


def max_retries_of(task: LegacyDefinition, options: TaskOptions, default: int | None) -> int | None:
    """Return how often a task is retried; None if that isn't known, or never ends.

    Args:
        task: The task.
        options: What it is given.
        default: What the middleware of Dramatiq does to every actor.
    """
    if "max_retries" in options.computed:
        return None
    if "max_retries" in options.values:
        given = options.values["max_retries"]
        return given if type(given) is int and given >= 0 else None
    if task.system is System.DRAMATIQ:
        return default if "retry_when" not in {*options.values, *options.computed} else None
    retried = options.retries_itself or "autoretry_for" in {*options.values, *options.computed}
    return 3 if retried else None
