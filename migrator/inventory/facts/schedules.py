"""When a beat entry runs, and what it gives: read where the inventory has found it.

Source: ``celery/schedules.py`` (``crontab``: what isn't given means every), ``celery/beat.py`` (keys of an entry).
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from migrator.inventory.beat_entries import JOBS, Function, ScheduleDefinition, function_named, sending
from migrator.inventory.module_facts import ModuleFacts
from migrator.inventory.static_values import StaticValues, UnknownValueError
from migrator.plan.crontab import crontab_problem

#: In the order in which Celery's ``crontab`` takes them, and in the order of the plan.
_GIVEN = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")
_FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
_CRONTABS = frozenset({"celery.schedules.crontab", "celery.task.schedules.crontab"})
_SCHEDULES = frozenset({"celery.schedules.schedule", "celery.schedules.timedelta"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryFacts:
    """What an entry says; a part that can't be known is a problem."""

    crontab: str = ""
    every_s: float | None = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    #: Expiry, queue and the like, as they are written.
    options: str = ""
    problem: str = ""


def entry_facts(entry: ScheduleDefinition, values: StaticValues, job: str = "") -> EntryFacts | None:
    """Return what an entry says; None if its time can't be found.

    Args:
        entry: Of beat, or a job of another scheduler.
        values: Reads its parts.
        job: When a job runs, as the plan writes it.
    """
    facts = values.load(entry.name.partition(":")[0])
    if facts is None or facts.file != entry.file:
        return None
    given = next(_found(facts, entry), None) if entry.beat else _job_parts(facts, entry) if entry.added else {}
    if given is None or not (job or "schedule" in given):
        return None
    time: dict[str, Any] = {}
    try:
        time = _checked(tomllib.loads(job) if job else _timed(facts, given["schedule"], values))
        if "" in given:
            return EntryFacts(**time, problem="a part of it is unpacked or computed")
        args = values.of(facts, given["args"]) if "args" in given else []
        kwargs = values.of(facts, given["kwargs"]) if "kwargs" in given else {}
    except UnknownValueError as error:
        return EntryFacts(**time, problem=f"it can't be known: {error}")
    if not isinstance(args, list) or not isinstance(kwargs, dict) or not _written(args) or not _written(kwargs):
        return EntryFacts(**time, problem=f"its arguments can't be written into a plan: {args} {kwargs}")
    options = ast.unparse(given["options"]) if "options" in given else ""
    return EntryFacts(**time, args=tuple(args), kwargs=kwargs, options=options)


def _found(facts: ModuleFacts, entry: ScheduleDefinition) -> Iterator[dict[str, ast.expr]]:
    """Yield the items of the entry that begins on its line."""
    name = entry.name.partition(":")[2]
    for node in facts.nodes:
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if key is not None and key.lineno == entry.line and facts.text(key) == name:
                    yield _items(facts, value)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            key = node.targets[0].slice
            if key.lineno == entry.line and facts.text(key) == name:
                yield _items(facts, node.value)
        elif isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.lineno == entry.line and keyword.arg == name:
                    yield _items(facts, keyword.value)
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if called == "add_periodic_task" and node.lineno == entry.line:
                yield _added(node)


def _items(facts: ModuleFacts, node: ast.expr) -> dict[str, ast.expr]:
    if isinstance(node, ast.Name):
        node = facts.values.get(node.id, node)
    if isinstance(node, ast.Dict):
        return {facts.text(key) or "": item for key, item in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        return {item.arg or "": item.value for item in node.keywords}
    return {}


def _added(call: ast.Call) -> dict[str, ast.expr]:
    """Return ``add_periodic_task(schedule, task.s(1, x=2), args, kwargs, name=…, **options)`` as an entry's items."""
    if len(call.args) < 2:
        return {}
    found: dict[str, ast.expr] = dict(zip(("schedule", "task", "args", "kwargs"), call.args, strict=False))
    found |= {item.arg: item.value for item in call.keywords if item.arg in ("args", "kwargs")}
    made = found["task"]
    if isinstance(made, ast.Call) and isinstance(made.func, ast.Attribute) and made.func.attr in {"s", "si"}:
        keys = [ast.Constant(item.arg) for item in made.keywords if item.arg]
        found.setdefault("args", ast.List(made.args))
        found.setdefault("kwargs", ast.Dict([*keys], [item.value for item in made.keywords if item.arg]))
    options = [item for item in call.keywords if item.arg not in ("args", "kwargs", "name")]
    if options:
        found["options"] = ast.Call(ast.Name("dict"), [], options)
    return found


def _checked(time: dict[str, Any]) -> dict[str, Any]:
    """Return the plan's key and value for a time.

    Raises:
        UnknownValueError: The plan can't say it.
    """
    text = str(time.get("crontab", ""))
    if "${" in text or (text and crontab_problem(text)):
        raise UnknownValueError(f"{text}: {'the environment' if '${' in text else crontab_problem(text)}")
    return time


def _timed(facts: ModuleFacts, node: ast.expr, values: StaticValues) -> dict[str, Any]:
    if isinstance(node, ast.Name) and isinstance(facts.values.get(node.id), ast.Call):
        node = facts.values[node.id]
    if isinstance(node, ast.Call) and facts.dotted(node.func) in _CRONTABS:
        given = dict(zip(_GIVEN, node.args, strict=False)) | {item.arg or "": item.value for item in node.keywords}
        if set(given) - set(_GIVEN):
            raise UnknownValueError(ast.unparse(node))
        return {"crontab": " ".join(_field(values.of(facts, given[key])) if key in given else "*" for key in _FIELDS)}
    if isinstance(node, ast.Call) and facts.dotted(node.func) == "celery.schedules.crontab.from_string" and node.args:
        return {"crontab": str(values.of(facts, node.args[0]))}
    if isinstance(node, ast.Call) and facts.dotted(node.func) in _SCHEDULES and (node.args or node.keywords):
        others = [item for item in node.keywords if item.arg != "run_every"]
        if others or len(node.args) > 1:
            raise UnknownValueError(ast.unparse(node))
        node = node.args[0] if node.args else node.keywords[0].value
    every = values.of(facts, node)
    if isinstance(every, bool) or not isinstance(every, (int, float)) or every <= 0:
        raise UnknownValueError(ast.unparse(node))
    return {"every_s": every}


def _written(value: Any) -> bool:
    """Tell whether a plan can hold a value: it has no null, and refers to no variable here."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _written(item) for key, item in value.items())
    if isinstance(value, list):
        return all(_written(item) for item in value)
    return value is not None and not (isinstance(value, str) and "${" in value)


def _field(value: Any) -> str:
    """Return one field of a crontab; several values as a list."""
    text = ",".join(str(item) for item in value) if isinstance(value, list) else str(value)
    return text.replace(" ", "")


def _job_parts(facts: ModuleFacts, entry: ScheduleDefinition) -> dict[str, ast.expr]:
    """Return the ``args`` and ``kwargs`` of a job that a process adds; a key without name where they depend."""
    for node in facts.nodes:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.lineno == entry.line:
            return _sent(node, {})
        if isinstance(node, ast.Call) and node.lineno == entry.line and getattr(node.func, "attr", "") in JOBS:
            given: dict[str, ast.expr] = dict(zip(("func", "trigger", "args", "kwargs"), node.args, strict=False))
            given |= {item.arg or "": item.value for item in node.keywords}
            found = {key: value for key, value in given.items() if key in ("args", "kwargs")}
            job = given.get("func")
            return _sent(function_named(facts, job.id), found) if isinstance(job, ast.Name) else found
    return {}


def _sent(node: Function | None, given: dict[str, ast.expr]) -> dict[str, ast.expr]:
    """Return what a function that only sends gives the task; it depends where the function has parameters itself."""
    call = sending(node)
    if call is None or node is None:
        return {}
    if given or ast.unparse(node.args) or any(item.arg is None for item in call.keywords):
        return {"": call}
    keys: list[ast.expr | None] = [ast.Constant(item.arg) for item in call.keywords]
    return {"args": ast.List(call.args), "kwargs": ast.Dict(keys, [item.value for item in call.keywords])}
