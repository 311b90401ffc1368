"""Bring legacy and unified observations into one form: unified task names, arguments by name, effects by target."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from checks.cases.load import Call
from migrator.agent.canonical import sort_key
from migrator.errors import AdaptationError
from migrator.plan.arguments import adapt, by_position
from migrator.plan.model import Plan
from migrator.wire.message import System

#: Stands for a value that only one of two observations has.
ABSENT: Mapping[str, Any] = {"$absent": True}
#: Columns of a dead letter that are not compared: they describe where in the code it happened.
_IGNORED_COLUMNS = ("traceback",)
#: Ids that are generated for a log line are not behaviour.
_UUID = re.compile(r"\b[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\b")


def normal(observation: Mapping[str, Any], call: Call, plan: Plan, *, legacy: bool) -> dict[str, Any]:
    """Return an observation in the form in which it is compared."""
    rows = {table: dict(change) for table, change in observation["rows"].items()}
    letters = rows.pop(f"{plan.project.app_label}_taskfailure", {})
    dead = [*map(_letter, letters.get("inserted", ())), *(_dead(entry, plan) for entry in observation["dead_letters"])]
    return {
        "outcome": observation["outcome"],
        "value": observation.get("value"),
        "exception": observation["exception"],
        "retry": _retry(observation.get("retry"), call, plan, legacy=legacy),
        "effects": {
            "rows": {table: {kind: _sorted(part) for kind, part in change.items()} for table, change in rows.items()},
            "cache": _by_key(observation["cache"]),
            "http": _requests(observation["http"]),
            "mail": _sorted(observation["mail"]),
            "messages": _messages(observation["messages"], plan),
            "dead_letters": _sorted(dead),
            "logs": _sorted({**entry, "text": _UUID.sub("<uuid>", entry["text"])} for entry in observation["logs"]),
        },
    }


def by_name(task: str, args: Sequence[Any], kwargs: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """Return a unified call's arguments by parameter name; surplus positional ones are listed under ``$further``."""
    known = plan.task(task)
    parameters = known.parameters if known else ()
    reached = by_position(parameters)
    named = dict(zip(reached, args, strict=False))
    rest = list(args[len(reached) :])
    return {**named, **({"$further": rest} if rest else {}), **kwargs}


def _unified_call(system: str, name: str, call: Mapping[str, Any], plan: Plan) -> tuple[str, dict[str, Any]]:
    """Return the unified name and named arguments of a message of any system."""
    mapping = plan.mapping(System(system), name)
    if mapping is None:
        label = f"retired {name}" if plan.retirement(System(system), name) else name
        return label, by_name(name, call["args"], call["kwargs"], plan)
    try:
        args, kwargs = adapt(mapping, call["args"], call["kwargs"])
    except AdaptationError as error:
        return mapping.unified, {"$unadaptable": str(error), "args": call["args"], "kwargs": call["kwargs"]}
    return mapping.unified, by_name(mapping.unified, args, kwargs, plan)


def _retry(retry: Mapping[str, Any] | None, call: Call, plan: Plan, *, legacy: bool) -> dict[str, Any] | None:
    if retry is None:
        return None
    mapping = call.mapping
    arguments = by_name(mapping.unified, retry["args"], retry["kwargs"], plan)
    if legacy:
        _, arguments = _unified_call(mapping.system.value, mapping.name, retry, plan)
    return {"delay_s": retry["delay_s"], "arguments": arguments, **_further(retry)}


def _messages(entries: Sequence[Mapping[str, Any]], plan: Plan) -> dict[str, list[Any]]:
    legacy_queues = {queue for endpoint in plan.legacy for queue in endpoint.queues}
    result: dict[str, list[Any]] = {}
    for entry in entries:
        name, arguments = _unified_call(entry["system"], entry["task"], entry, plan)
        queue = entry["queue"]
        main = queue in legacy_queues or queue in plan.unified.queues
        # Of an actor that is converted where it stands: nobody has chosen Dramatiq's 0, nor the none that it becomes.
        default = entry["system"] == "dramatiq" and entry["priority"] == 0 and _in_place(plan, entry["task"])
        priority = None if default else entry["priority"]
        sent = {"arguments": arguments, "delay_s": entry["delay_s"], "priority": priority}
        result.setdefault(name, []).append({**sent, "queue": "<main>" if main else queue, **_further(entry)})
    return {name: _sorted(messages) for name, messages in sorted(result.items())}


def _in_place(plan: Plan, actor: str) -> bool:
    mapping = plan.mapping(System.DRAMATIQ, actor)
    task = plan.task(mapping.unified) if mapping is not None else None
    return mapping is not None and task is not None and mapping.path == task.path


def _further(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what only some messages have: an expiry, and headers of their own."""
    return {name: entry[name] for name in ("expires_s", "headers") if entry.get(name)}


def _dead(entry: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    name, arguments = _unified_call(entry["system"], entry["task"], entry, plan)
    return {"task": name, "arguments": arguments}


def _letter(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in _IGNORED_COLUMNS}


def _by_key(entries: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    result: dict[str, list[Any]] = {}
    for entry in entries:
        result.setdefault(entry["key"], []).append({name: value for name, value in entry.items() if name != "key"})
    return dict(sorted(result.items()))


def _requests(entries: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    result: dict[str, list[Any]] = {}
    for entry in entries:
        query = urlencode(sorted(entry["query"].items()))
        target = f"{entry['method']} {entry['path']}" + (f"?{query}" if query else "")
        answer = {"status": entry["status"], **({"body": entry["body"]} if "body" in entry else {})}
        result.setdefault(target, []).append(answer)
    return {target: _sorted(answers) for target, answers in sorted(result.items())}


def _sorted(entries: Iterable[Any]) -> list[Any]:
    return sorted(entries, key=sort_key)
