"""Legacy schedule entries of one file, in every literal form, named ``module:entry``.

Declared as ``app.conf.beat_schedule = {…}``, ``conf["beat_schedule"] = {…}``, ``CELERY_BEAT_SCHEDULE = {…}`` (with any
namespace), ``CELERYBEAT_SCHEDULE``, ``beat_schedule`` of a configuration module or class, ``… |= {…}``,
``….update({…})``, ``beat_schedule["entry"] = {…}``; as ``beat_schedule`` in a dict or ``dict(…)`` that is a setting
itself or is given to ``conf.update``, ``config_from_object``, ``add_defaults`` or ``Celery``; by
``add_periodic_task(…, name="entry")``; each also through one module constant.
Also jobs of periodiq, dramatiq-crontab and APScheduler, named after the actor that they send.
Source: ``celery/app/base.py`` (``add_periodic_task``), ``celery/app/defaults.py`` (old and new setting names).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from migrator.inventory.module_facts import ModuleFacts

_SENDS = frozenset({"send", "delay"})
#: Methods of APScheduler that add a job.
JOBS = frozenset({"add_job", "scheduled_job"})
#: Calls that take settings, by keyword or as a dict.
_TAKE_SETTINGS = frozenset({"update", "config_from_object", "add_defaults", "Celery"})
Function = ast.FunctionDef | ast.AsyncFunctionDef
#: Parts of an entry that a plan has too.
_PLANNED = frozenset({"task", "schedule", "args", "kwargs"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleDefinition:
    """One legacy entry of a scheduler."""

    #: ``module:entry``; the entry is empty where its name is computed.
    name: str
    #: Task that it names; empty if the source computes it.
    task: str
    file: Path
    line: int
    #: True for an entry of beat's schedule, False for a job of another scheduler.
    beat: bool = True
    #: True for a job that a process of the project's own adds to its scheduler.
    added: bool = False
    #: Dotted name of what has the ``conf`` that it is given to; empty for settings.
    owner: str = ""
    #: What the entry says besides, such as its ``options``: key and source text, empty if that is no literal.
    extras: tuple[tuple[str, str], ...] = ()


def is_schedule_setting(name: object) -> bool:
    """Tell whether a name is that of the schedule among Celery's settings, with or without a namespace."""
    return isinstance(name, str) and (name == "beat_schedule" or (name.endswith("BEAT_SCHEDULE") and name.isupper()))


def schedule_entries(facts: ModuleFacts, tasks: frozenset[str] = frozenset()) -> Iterator[ScheduleDefinition]:
    """Yield the entries that one file declares, in its order.

    Args:
        facts: The file.
        tasks: Names of the functions that are tasks; a job that is a plain function counts if all it does is send one.
    """
    filled = _filled(facts)
    for node in facts.nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _assigned(facts, target, node.value)
                if (
                    isinstance(target, ast.Subscript)
                    and isinstance(target.value, ast.Name)
                    and target.value.id in filled
                ):
                    yield _entry(facts, target.slice, node.value, filled[target.value.id])
        elif isinstance(node, (ast.AnnAssign, ast.AugAssign)) and node.value is not None:
            yield from _assigned(facts, node.target, node.value)
        elif isinstance(node, ast.Call):
            yield from _called(facts, node, tasks)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _decorated(facts, node, tasks)


def _filled(facts: ModuleFacts) -> dict[str, str]:
    """Return the names that a schedule is given, with its owner: what is put into them is in the schedule."""
    found: dict[str, str] = {}
    for node in facts.nodes:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and not _is_schedule(node.value):
            for target in filter(_is_schedule, node.targets):
                found[node.value.id] = owner_of(facts, target)
    return found


def owner_of(facts: ModuleFacts, node: ast.expr) -> str:
    """Return the dotted name of the app whose ``conf`` an expression is or is part of; empty for anything else."""
    if isinstance(node, ast.Attribute) and is_schedule_setting(node.attr):
        return owner_of(facts, node.value)
    if isinstance(node, ast.Subscript):
        return owner_of(facts, node.value)
    dotted = facts.dotted(node)
    return dotted.removesuffix(".conf") if dotted.endswith(".conf") else ""


def _assigned(facts: ModuleFacts, target: ast.expr, value: ast.expr) -> Iterator[ScheduleDefinition]:
    if _is_schedule(target):
        yield from _mapping(facts, value, owner_of(facts, target))
    elif isinstance(target, ast.Subscript) and _is_schedule(target.value):
        yield _entry(facts, target.slice, value, owner_of(facts, target.value))
    elif isinstance(target, ast.Name):
        yield from _settings_in(facts, value, "")


def _is_schedule(node: ast.expr) -> bool:
    if isinstance(node, ast.Name):
        return is_schedule_setting(node.id)
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, ast.Constant) and is_schedule_setting(node.slice.value)
    return isinstance(node, ast.Attribute) and is_schedule_setting(node.attr)


def _settings_in(facts: ModuleFacts, value: ast.expr, owner: str) -> Iterator[ScheduleDefinition]:
    """Entries of a dict of settings, written as such or as a call."""
    if isinstance(value, ast.Dict):
        for key, item in zip(value.keys, value.values, strict=True):
            if isinstance(key, ast.Constant) and is_schedule_setting(key.value):
                yield from _mapping(facts, item, owner)
    elif isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "dict":
        for keyword in value.keywords:
            if is_schedule_setting(keyword.arg):
                yield from _mapping(facts, keyword.value, owner)


def _mapping(facts: ModuleFacts, value: ast.expr, owner: str, *, depth: int = 0) -> Iterator[ScheduleDefinition]:
    if isinstance(value, ast.Name) and value.id in facts.values and depth < 5 and not _is_schedule(value):
        yield from _mapping(facts, facts.values[value.id], owner, depth=depth + 1)
    elif isinstance(value, ast.Dict):
        for key, item in zip(value.keys, value.values, strict=True):
            if key is None:
                yield from _mapping(facts, item, owner, depth=depth + 1)
            else:
                yield _entry(facts, key, item, owner)
    elif isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "dict":
        for argument in value.args:
            yield from _mapping(facts, argument, owner, depth=depth + 1)
        yield from _keywords(facts, value, owner, depth)
    elif isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr):
        yield from _mapping(facts, value.left, owner, depth=depth + 1)
        yield from _mapping(facts, value.right, owner, depth=depth + 1)


def _keywords(facts: ModuleFacts, call: ast.Call, owner: str, depth: int) -> Iterator[ScheduleDefinition]:
    for keyword in call.keywords:
        if keyword.arg is None:
            yield from _mapping(facts, keyword.value, owner, depth=depth + 1)
        else:
            key = ast.Constant(keyword.arg, lineno=keyword.value.lineno, col_offset=0)
            yield _entry(facts, key, keyword.value, owner)


def _entry(facts: ModuleFacts, key: ast.expr, value: ast.expr, owner: str) -> ScheduleDefinition:
    parts: dict[str, ast.expr] = {}
    if isinstance(value, ast.Name):
        value = facts.values.get(value.id, value)
    if isinstance(value, ast.Dict):
        named = zip(value.keys, value.values, strict=True)
        parts = {facts.text(name) or "": item for name, item in named if name is not None}
    elif isinstance(value, ast.Call):
        parts = {item.arg or "": item.value for item in value.keywords}
    return ScheduleDefinition(
        name=f"{facts.name}:{facts.text(key) or ''}",
        task=facts.text(parts.get("task")) or "",
        file=facts.file,
        line=key.lineno,
        owner=owner,
        extras=tuple((name, _literal(item)) for name, item in parts.items() if name and name not in _PLANNED),
    )


def _literal(node: ast.expr) -> str:
    """Return the source of a literal; empty for anything else."""
    try:
        ast.literal_eval(node)
    except ValueError:
        return ""
    return ast.unparse(node)


def _called(facts: ModuleFacts, node: ast.Call, tasks: frozenset[str]) -> Iterator[ScheduleDefinition]:
    if isinstance(node.func, ast.Name):
        if node.func.id in _TAKE_SETTINGS:
            yield from _given(facts, node, facts.dotted(node.func))
    elif not isinstance(node.func, ast.Attribute):
        return
    elif node.func.attr == "update" and _is_schedule(node.func.value):
        owner = owner_of(facts, node.func.value)
        for argument in node.args:
            yield from _mapping(facts, argument, owner)
        yield from _keywords(facts, node, owner, 0)
    elif node.func.attr == "setdefault" and _is_schedule(node.func.value) and len(node.args) > 1:
        yield _entry(facts, node.args[0], node.args[1], owner_of(facts, node.func.value))
    elif node.func.attr in _TAKE_SETTINGS:
        owner = owner_of(facts, node.func.value) if node.func.attr == "update" else facts.dotted(node.func.value)
        yield from _given(facts, node, owner)
    elif node.func.attr == "add_periodic_task" and len(node.args) >= 2:
        named = next((keyword.value for keyword in node.keywords if keyword.arg == "name"), None)
        task = _signature(facts, node.args[1])
        found = _definition(facts, facts.text(named) or task, task, node.lineno)
        yield replace(found, beat=True, owner=facts.dotted(node.func.value))
    elif node.func.attr in JOBS:
        yield from _job(facts, node, tasks)


def _job(facts: ModuleFacts, node: ast.Call, tasks: frozenset[str]) -> Iterator[ScheduleDefinition]:
    """A job that is the method of a task which sends it, also as text, or a function that does nothing else."""
    job = node.args[0] if node.args else next((k.value for k in node.keywords if k.arg == "func"), None)
    named = next((keyword.value for keyword in node.keywords if keyword.arg == "id"), None)
    task = own = ""
    if isinstance(job, ast.Attribute) and job.attr in _SENDS:
        task = own = _leaf(job.value)
    elif isinstance(job, ast.Name):
        task, own = _only_sends(facts, function_named(facts, job.id)), job.id
    elif isinstance(job, ast.Constant) and ":" in str(job.value):
        path, _, method = str(job.value).rpartition(".")
        task = own = path.replace(":", ".").rpartition(".")[2] if method in _SENDS else ""
    if task in tasks:
        yield replace(_definition(facts, facts.text(named) or own, task, node.lineno), added=True)


def _given(facts: ModuleFacts, node: ast.Call, owner: str) -> Iterator[ScheduleDefinition]:
    """Entries in the settings that a call is given."""
    for argument in node.args:
        yield from _settings_in(facts, argument, owner)
    for keyword in node.keywords:
        if keyword.arg is None:
            yield from _settings_in(facts, keyword.value, owner)
        elif is_schedule_setting(keyword.arg):
            yield from _mapping(facts, keyword.value, owner)


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
                yield replace(_definition(facts, facts.text(named) or node.name, task, node.lineno), added=True)


def function_named(facts: ModuleFacts, name: str) -> Function | None:
    """Return a function at the top of a file."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return next((item for item in facts.tree.body if isinstance(item, kinds) and item.name == name), None)


def _only_sends(facts: ModuleFacts, node: Function | None) -> str:
    """Return the task that a function sends, if it does nothing else."""
    call = sending(node)
    return facts.dotted(call.func.value).rpartition(".")[2] if call and isinstance(call.func, ast.Attribute) else ""


def sending(node: Function | None) -> ast.Call | None:
    """Return the call by which a function sends something, if it does nothing else."""
    body = node.body[1:] if node is not None and ast.get_docstring(node) else node.body if node is not None else []
    value = body[0].value if len(body) == 1 and isinstance(body[0], (ast.Expr, ast.Return)) else None
    method = value.func.attr if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) else ""
    return value if isinstance(value, ast.Call) and method in _SENDS else None


def _definition(facts: ModuleFacts, entry: str, task: str, line: int) -> ScheduleDefinition:
    return ScheduleDefinition(name=f"{facts.name}:{entry}", task=task, file=facts.file, line=line, beat=False)
