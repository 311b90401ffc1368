"""Legacy beat entries of one file, in every literal form, named ``module:entry``.

Declared as ``app.conf.beat_schedule = {…}``, ``app.conf.beat_schedule["entry"] = {…}``,
``app.conf.beat_schedule.update({…})``, ``app.conf.update(beat_schedule={…})``, ``conf["beat_schedule"] = {…}``,
``CELERY_BEAT_SCHEDULE = {…}``, ``CELERYBEAT_SCHEDULE``, ``beat_schedule`` of a configuration module or class,
``add_periodic_task(…, name="entry")``, each also through one module constant.
Also jobs of periodiq, dramatiq-crontab and APScheduler, named after the actor that they send.
Source: ``celery/app/base.py`` (``add_periodic_task``), ``celery/app/defaults.py`` (old and new setting names).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from migrator.inventory.module_facts import ModuleFacts

_SETTINGS = frozenset({"CELERY_BEAT_SCHEDULE", "CELERYBEAT_SCHEDULE", "BEAT_SCHEDULE", "beat_schedule"})
_SENDS = frozenset({"send", "delay"})
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleDefinition:
    """One legacy entry of a scheduler."""

    #: ``module:entry``; the entry is empty where its name is computed.
    name: str
    #: Task that it names; empty if the source computes it.
    task: str
    file: Path
    line: int


def schedule_entries(facts: ModuleFacts, tasks: frozenset[str] = frozenset()) -> Iterator[ScheduleDefinition]:
    """Yield the entries that one file declares, in its order.

    Args:
        facts: The file.
        tasks: Names of the functions that are tasks; a job that is a plain function counts if all it does is send one.
    """
    for node in facts.nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _assigned(facts, target, node.value)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield from _assigned(facts, node.target, node.value)
        elif isinstance(node, ast.Call):
            yield from _called(facts, node, tasks)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _decorated(facts, node, tasks)


def _assigned(facts: ModuleFacts, target: ast.expr, value: ast.expr) -> Iterator[ScheduleDefinition]:
    if _is_schedule(target):
        yield from _mapping(facts, value, depth=0)
    elif isinstance(target, ast.Subscript) and _is_schedule(target.value):
        yield _entry(facts, target.slice, value)


def _is_schedule(node: ast.expr) -> bool:
    if isinstance(node, ast.Name):
        return node.id in _SETTINGS
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, ast.Constant) and node.slice.value in _SETTINGS
    return isinstance(node, ast.Attribute) and node.attr in _SETTINGS


def _mapping(facts: ModuleFacts, value: ast.expr, *, depth: int) -> Iterator[ScheduleDefinition]:
    if isinstance(value, ast.Name) and value.id in facts.values and depth < 5 and not _is_schedule(value):
        yield from _mapping(facts, facts.values[value.id], depth=depth + 1)
    elif isinstance(value, ast.Dict):
        for key, item in zip(value.keys, value.values, strict=True):
            if key is None:
                yield from _mapping(facts, item, depth=depth + 1)
            else:
                yield _entry(facts, key, item)
    elif isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "dict":
        for argument in value.args:
            yield from _mapping(facts, argument, depth=depth + 1)
        for keyword in value.keywords:
            key = ast.Constant(keyword.arg, lineno=keyword.lineno, col_offset=0) if keyword.arg else keyword.value
            yield _entry(facts, key, keyword.value)
    elif isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr):
        yield from _mapping(facts, value.left, depth=depth + 1)
        yield from _mapping(facts, value.right, depth=depth + 1)


def _entry(facts: ModuleFacts, key: ast.expr, value: ast.expr) -> ScheduleDefinition:
    task = ""
    if isinstance(value, ast.Dict):
        for name, item in zip(value.keys, value.values, strict=True):
            if isinstance(name, ast.Constant) and name.value == "task":
                task = facts.text(item) or ""
    elif isinstance(value, ast.Call):
        task = next((facts.text(item.value) or "" for item in value.keywords if item.arg == "task"), "")
    return _definition(facts, facts.text(key) or "", task, key.lineno)


def _called(facts: ModuleFacts, node: ast.Call, tasks: frozenset[str]) -> Iterator[ScheduleDefinition]:
    if not isinstance(node.func, ast.Attribute):
        return
    if node.func.attr == "update" and _is_schedule(node.func.value):
        for argument in node.args:
            yield from _mapping(facts, argument, depth=0)
    elif node.func.attr in {"update", "Celery"}:
        for keyword in node.keywords:
            if keyword.arg in _SETTINGS:
                yield from _mapping(facts, keyword.value, depth=0)
    elif node.func.attr == "add_periodic_task" and len(node.args) >= 2:
        named = next((keyword.value for keyword in node.keywords if keyword.arg == "name"), None)
        task = _signature(facts, node.args[1])
        yield _definition(facts, facts.text(named) or task, task, node.lineno)
    elif node.func.attr in {"add_job", "scheduled_job"}:
        job = node.args[0] if node.args else next((k.value for k in node.keywords if k.arg == "func"), None)
        named = next((keyword.value for keyword in node.keywords if keyword.arg == "id"), None)
        if isinstance(job, ast.Attribute) and job.attr in _SENDS:
            task = _leaf(job.value)
            yield _definition(facts, facts.text(named) or task, task, node.lineno)
        elif isinstance(job, ast.Name) and (task := _only_sends(facts, _function(facts, job.id))) in tasks:
            yield _definition(facts, facts.text(named) or job.id, task, node.lineno)


def _signature(facts: ModuleFacts, node: ast.expr) -> str:
    """``task.s(…)`` and ``signature("name")`` name a task."""
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"s", "si", "signature"}
    ):
        return _leaf(node.func.value)
    if isinstance(node, ast.Call) and node.args:
        return facts.text(node.args[0]) or ""
    return ""


def _leaf(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _decorated(facts: ModuleFacts, node: Function, tasks: frozenset[str]) -> Iterator[ScheduleDefinition]:
    """``@dramatiq.actor(periodic=cron(…))`` of periodiq and ``@cron(…)`` of dramatiq-crontab."""
    for decorator in node.decorator_list:
        if not isinstance(decorator, ast.Call):
            continue
        dotted = facts.dotted(decorator.func)
        periodic = any(keyword.arg == "periodic" for keyword in decorator.keywords) and "actor" in dotted
        if periodic or dotted.startswith("dramatiq_crontab."):
            yield _definition(facts, node.name, node.name, node.lineno)

        elif isinstance(decorator.func, ast.Attribute) and decorator.func.attr == "scheduled_job":
            task = _only_sends(facts, node)
            named = next((keyword.value for keyword in decorator.keywords if keyword.arg == "id"), None)
            if task in tasks:
                yield _definition(facts, facts.text(named) or node.name, task, node.lineno)


def _function(facts: ModuleFacts, name: str) -> Function | None:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return next((item for item in facts.tree.body if isinstance(item, kinds) and item.name == name), None)


def _only_sends(facts: ModuleFacts, node: Function | None) -> str:
    """Return the task that a function sends, if it does nothing else."""
    body = node.body[1:] if node is not None and ast.get_docstring(node) else node.body if node is not None else []
    value = body[0].value if len(body) == 1 and isinstance(body[0], (ast.Expr, ast.Return)) else None
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr in _SENDS:
        return facts.dotted(value.func.value).rpartition(".")[2]
    return ""


def _definition(facts: ModuleFacts, entry: str, task: str, line: int) -> ScheduleDefinition:
    return ScheduleDefinition(name=f"{facts.name}:{entry}", task=task, file=facts.file, line=line)
