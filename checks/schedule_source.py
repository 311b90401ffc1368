"""Schedule entries outside the legacy modules, read from the source as it was before the rewrite.

The rewrite removes such entries, so their file is read as the record of the rewrite stores it
(``.migrator/rewrite.json``), or as it is if nothing changed it. Nothing is imported: only literal values are known, and
a computed one is reported as such.
Supported forms: those of :mod:`migrator.inventory.beat_entries`. Source: ``celery/schedules.py``; periodiq's and
dramatiq-crontab's ``cron``; APScheduler's ``CronTrigger`` (0 is Monday, and fields below the first given one are 0).
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from migrator.inventory.callables import loading
from migrator.inventory.module_facts import ModuleFacts, read_module
from migrator.inventory.named_texts import following
from migrator.inventory.source_files import module_files
from migrator.plan.model import Plan

#: Celery's fields in the order of a crontab line and of its own parameters, and APScheduler's names for them.
_FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
_POSITIONS = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")
_APSCHEDULER = ("minute", "hour", "day", "month", "day_of_week")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_UNITS = ("weeks", "days", "hours", "minutes", "seconds", "milliseconds")


class _ComputedError(ValueError):
    """A value that is not literal."""


def read_entry(plan: Plan, name: str) -> dict[str, Any] | None:
    """Return the entry ``module:entry``, ``broken`` with the reason where it is not literal, or None.

    Shape: ``{"system", "task", "args", "kwargs"}`` with ``crontab`` or ``every_s``, and ``timezone`` if it is given.
    """
    module, _, entry = name.partition(":")
    for file in module_files(plan.source_root, module):
        for source in _sources(plan, file):
            try:
                facts = following(read_module(plan.source_root, file, source), loading(plan.source_root, {}))
                found = next(_entries(facts, entry), None)
            except _ComputedError as error:
                return {"broken": f"it is computed: {error}"}
            except (SyntaxError, ValueError) as error:
                return {"broken": f"{file.name} can't be read: {error}"}
            if found is not None:
                return found
    return None


def _sources(plan: Plan, file: Path) -> Iterator[bytes]:
    """Yield the file as it was before each recorded rewrite, oldest first, then as it is now.

    A rewrite that was undone counts again once git has brought its file back.
    """
    path = file.relative_to(plan.folder).as_posix()
    record = plan.state_folder / "rewrite.json"
    runs = json.loads(record.read_text(encoding="utf-8"))["runs"] if record.is_file() else []
    now = file.read_bytes() if file.is_file() else None
    for run in runs:
        original = plan.state_folder / "undo" / run["id"] / path
        after = next((entry["after"] for entry in run.get("files", ()) if entry["path"] == path), "")
        there = now is not None and hashlib.sha256(now).hexdigest() == after
        if original.is_file() and (there or not run.get("undone_at")):
            yield original.read_bytes()
    if now is not None:
        yield now


def _entries(facts: ModuleFacts, entry: str) -> Iterator[dict[str, Any]]:
    for node in ast.walk(facts.tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if key is not None and facts.text(key) == entry and isinstance(value, ast.Dict):
                    yield from _beat(facts, value)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            if facts.text(node.targets[0].slice) == entry and isinstance(node.value, ast.Dict):
                yield from _beat(facts, node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield from _called(facts, node, entry)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == entry:
            yield from _decorated(facts, node)


def _beat(facts: ModuleFacts, value: ast.Dict) -> Iterator[dict[str, Any]]:
    parts = {facts.text(key): item for key, item in zip(value.keys, value.values, strict=True) if key is not None}
    if "task" not in parts or "schedule" not in parts:
        return
    yield {
        "system": "celery",
        "task": facts.text(parts["task"]) or _constant(facts, parts["task"]),
        "args": list(_constant(facts, parts["args"])) if "args" in parts else [],
        "kwargs": dict(_constant(facts, parts["kwargs"])) if "kwargs" in parts else {},
        **_times(facts, parts["schedule"]),
    }


def _called(facts: ModuleFacts, node: ast.Call, entry: str) -> Iterator[dict[str, Any]]:
    named = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    assert isinstance(node.func, ast.Attribute)
    if node.func.attr == "add_periodic_task" and len(node.args) >= 2:
        call = node.args[1]
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            return
        task = facts.dotted(call.func.value)
        if entry == (facts.text(named.get("name")) or task.rpartition(".")[2]):
            yield {"system": "celery", "task": task, **_arguments(facts, call), **_times(facts, node.args[0])}
    elif node.func.attr == "add_job" and node.args and isinstance(node.args[0], ast.Attribute):
        actor = facts.dotted(node.args[0].value).rpartition(".")[2]
        if entry == (facts.text(named.get("id")) or actor):
            args = list(_constant(facts, named["args"])) if "args" in named else []
            kwargs = dict(_constant(facts, named["kwargs"])) if "kwargs" in named else {}
            yield {"system": "dramatiq", "task": actor, "args": args, "kwargs": kwargs, **_job(facts, node, named)}


def _arguments(facts: ModuleFacts, call: ast.Call) -> dict[str, Any]:
    kwargs = {item.arg: _constant(facts, item.value) for item in call.keywords if item.arg}
    return {"args": [_constant(facts, item) for item in call.args], "kwargs": kwargs}


def _decorated(facts: ModuleFacts, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[dict[str, Any]]:
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call):
            periodic = next((item.value for item in decorator.keywords if item.arg == "periodic"), None)
            own = decorator if facts.dotted(decorator.func).startswith("dramatiq_crontab.") else periodic
            if own is not None:
                yield {"system": "dramatiq", "task": node.name, "args": [], "kwargs": {}, **_times(facts, own)}


def _job(facts: ModuleFacts, node: ast.Call, named: Mapping[str, ast.expr]) -> dict[str, Any]:
    """Return the times of an APScheduler job."""
    trigger = node.args[1] if len(node.args) > 1 else named.get("trigger")
    assert isinstance(node.func, ast.Attribute)
    scheduler = facts.values.get(node.func.value.id) if isinstance(node.func.value, ast.Name) else None
    zone = _zone(facts, scheduler.keywords) if isinstance(scheduler, ast.Call) else {}
    if isinstance(trigger, ast.Call):
        return {**zone, **_times(facts, trigger)}
    kind = _constant(facts, trigger) if trigger is not None else ""
    values = {name: _constant(facts, value) for name, value in named.items() if name in (*_APSCHEDULER, *_UNITS)}
    own = {**zone, **_zone(facts, node.keywords)}
    return {**own, **_cron_trigger(values)} if kind == "cron" else {"every_s": timedelta(**values).total_seconds()}


def _zone(facts: ModuleFacts, keywords: Sequence[ast.keyword]) -> dict[str, str]:
    """Return the time zone that is given by name, or as an object made from a name."""
    given = next((keyword.value for keyword in keywords if keyword.arg == "timezone"), None)
    if given is None:
        return {}
    if isinstance(given, ast.Call) and len(given.args) == 1:
        given = given.args[0]
    dotted = facts.dotted(given)
    return {"timezone": "UTC" if dotted.lower().endswith((".utc", "timezone.utc")) else str(_constant(facts, given))}


def _times(facts: ModuleFacts, node: ast.expr) -> dict[str, Any]:
    if not isinstance(node, ast.Call):
        return {"every_s": float(_constant(facts, node))}
    name = facts.dotted(node.func).rpartition(".")[2]
    args = [_constant(facts, item) for item in node.args] if name not in ("schedule",) else []
    named = {item.arg: item.value for item in node.keywords if item.arg}
    if name == "schedule":
        return _times(facts, node.args[0] if node.args else named["run_every"])
    values = {key: _constant(facts, value) for key, value in named.items() if key not in ("timezone", "app", "nowfun")}
    if name == "crontab":
        given = {**dict(zip(_POSITIONS, args, strict=False)), **values}
        return {"crontab": " ".join(_field(given.get(field, "*")) for field in _FIELDS)}
    if name in ("timedelta", "IntervalTrigger"):
        return {"every_s": timedelta(**values).total_seconds()}
    if name == "cron" and args:
        return {"crontab": str(args[0])}
    if name == "from_crontab" and args:
        *rest, days = str(args[0]).split()
        return {**_zone(facts, node.keywords), "crontab": " ".join([*rest, _named_days(days)])}
    if name == "CronTrigger":
        return {**_zone(facts, node.keywords), **_cron_trigger(values)}
    raise _ComputedError(f"{ast.unparse(node)[:80]} is not a schedule that can be read")


def _cron_trigger(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return APScheduler's fields as a crontab line: below the first field that is given, the others are 0."""
    fields, given = [], False
    for name in ("month", "day", "day_of_week", "hour", "minute"):
        fields.append(_field(values[name]) if name in values else "0" if given and name in ("hour", "minute") else "*")
        given = given or name in values
    unknown = set(values) - set(_APSCHEDULER)
    if unknown or not given:
        raise _ComputedError(f"a trigger with {', '.join(sorted(unknown)) or 'no field'} can't be written as a crontab")
    month, day, days, hour, minute = fields
    return {"crontab": f"{minute} {hour} {day} {month} {_named_days(days)}"}


def _named_days(days: str) -> str:
    """Return APScheduler's days by name: its 0 is Monday, a crontab's is Sunday."""
    return "".join(_DAYS[int(char)] if char.isdigit() and int(char) < 7 else char for char in days)


def _field(value: Any) -> str:
    parts = sorted(value) if isinstance(value, (set, frozenset)) else value
    return ",".join(map(str, parts)) if isinstance(parts, (list, tuple)) else str(parts).replace(" ", "")


def _constant(facts: ModuleFacts, node: ast.expr) -> Any:
    """Return a literal value, also one that is a module constant or a product of numbers."""
    if isinstance(node, ast.Name) and node.id in facts.values:
        return _constant(facts, facts.values[node.id])
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Add)):
        left, right = _constant(facts, node.left), _constant(facts, node.right)
        return left * right if isinstance(node.op, ast.Mult) else left + right
    if isinstance(node, ast.Call):
        found = _times(facts, node)
        return found.get("every_s", found)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise _ComputedError(ast.unparse(node)[:80]) from None
