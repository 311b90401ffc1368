"""What a task's own declaration says: queue, priority, retries. Read where the inventory has found it."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from migrator.inventory.facts.static_values import StaticValues, UnknownValueError
from migrator.inventory.module_facts import ModuleFacts
from migrator.inventory.task_definitions import LegacyDefinition
from migrator.wire.message import System

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
    computed: dict[str, str] = {}
    for name, given in _given(facts, node).items():
        try:
            value = values.of(facts, given)
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


def _given(facts: ModuleFacts, node: ast.AST | None) -> dict[str, ast.expr]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return _of_calls(facts, node.decorator_list)
    if isinstance(node, ast.Assign):
        calls = [item for item in ast.walk(node.value) if isinstance(item, ast.Call)]
        return _of_calls(facts, calls)
    if isinstance(node, ast.ClassDef):
        meta = next((item for item in node.body if isinstance(item, ast.ClassDef) and item.name == "Meta"), node)
        return {
            target.id: item.value
            for item in meta.body
            if isinstance(item, ast.Assign)
            for target in item.targets
            if isinstance(target, ast.Name)
        }
    return {}


def _of_calls(facts: ModuleFacts, nodes: Sequence[ast.expr]) -> dict[str, ast.expr]:
    """Return the keywords of decorators, those of a ``partial`` behind a name included."""
    found: dict[str, ast.expr] = {}
    for node in nodes:
        target = node.func if isinstance(node, ast.Call) else node
        made = facts.values.get(target.id) if isinstance(target, ast.Name) else None
        for call in (made, node):
            if isinstance(call, ast.Call):
                found |= {item.arg: item.value for item in call.keywords if item.arg}
    return found


def _is_retry(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "retry"


def queue_of(task: LegacyDefinition, options: TaskOptions) -> str | None:
    """Return the queue that a task names; empty if it names none, None if it is computed."""
    key = "queue_name" if task.system is System.DRAMATIQ else "queue"
    if key in options.computed:
        return None
    given = options.values.get(key) or ""
    return given if isinstance(given, str) else None


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
