"""What hangs on a message: Dramatiq's pipelines, Celery's chains, callbacks and chords, with the plan's names.

A part that can't be said in the other words makes the whole message stay: a function here then returns the reason as
text instead of a value.

Source: dramatiq/middleware/pipelines.py (the result is appended last, unless ``pipe_ignore``);
celery/canvas.py (a chain is stored last step first, and the result is prepended unless ``immutable``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from migrator.adapters import AdaptationError, adapt
from migrator.message import System
from migrator.plan import Plan

_MAX_STEPS = 50
#: Celery's own tasks that hold signatures in their arguments, and under which names.
_CONTAINERS = {
    "celery.group": ("tasks",),
    "celery.chain": ("tasks",),
    "celery.chord": ("header", "body"),
    "celery.map": ("task",),
    "celery.starmap": ("task",),
    "celery.chunks": ("task",),
}


def pipeline_as_chain(plan: Plan, target: Any, priorities: Mapping[str, int]) -> list[dict[str, Any]] | str:
    """Return the steps behind a message as Celery stores a chain, or why they can't be expressed."""
    steps: list[dict[str, Any]] = []
    while target is not None:
        if len(steps) >= _MAX_STEPS:
            return f"a pipeline of more than {_MAX_STEPS} steps"
        step = _pipeline_step(plan, target, priorities)
        if isinstance(step, str):
            return step
        steps.append(step)
        target = target["options"].get("pipe_target")
    return steps[::-1]


def _pipeline_step(plan: Plan, target: Any, priorities: Mapping[str, int]) -> dict[str, Any] | str:
    if not isinstance(target, dict) or not isinstance(target.get("options"), dict):
        return "a step of the pipeline is no message"
    name, args, kwargs, options = target.get("actor_name"), target.get("args"), target.get("kwargs"), target["options"]
    mapping = plan.mapping(System.DRAMATIQ, name) if isinstance(name, str) else None
    if mapping is None:
        return f"its step {name!r} has no successor in the plan"
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        return f"its step {name!r} has no readable arguments"
    ignore = bool(options.get("pipe_ignore"))
    if not ignore and (args or kwargs or mapping.operations):
        return f"its step {name!r} takes the result last, after arguments of its own; Celery would put it first"
    if options.get("delay") or options.get("group_completion_uuid"):
        return f"its step {name!r} has a delay or belongs to a group"
    try:
        new_args, new_kwargs = adapt(mapping, args, kwargs)
    except AdaptationError as error:
        return str(error)
    return {
        "task": mapping.unified,
        "args": list(new_args),
        "kwargs": new_kwargs,
        "options": {"queue": plan.unified.queues[0], "priority": priorities[mapping.unified]},
        "subtask_type": None,
        "immutable": ignore,
        "chord_size": None,
    }


def rename_embed(plan: Plan, embed: Mapping[str, Any]) -> dict[str, Any] | str:
    """Return the callbacks, errbacks, chain and chord of a legacy Celery message with unified names, or a reason."""
    renamed: dict[str, Any] = dict(embed)
    for part in ("callbacks", "errbacks", "chain", "chord"):
        value = renamed.get(part)
        if value is None:
            continue
        result = _rename(plan, value, 0)
        if isinstance(result, str):
            return f"{part}: {result}"
        renamed[part] = result
    return renamed


def _rename(plan: Plan, value: Any, level: int) -> Any:
    """Return a signature or a list of them renamed; a text is the reason why not."""
    if level > 20:
        return "signatures nested deeper than 20 levels"
    if isinstance(value, list):
        renamed = []
        for item in value:
            result = _rename(plan, item, level + 1)
            if isinstance(result, str):
                return result
            renamed.append(result)
        return renamed
    if not isinstance(value, dict) or not isinstance(value.get("task"), str):
        return f"{type(value).__name__} is no signature"
    signature = dict(value)
    options = dict(signature.get("options") or {})
    for key in ("link", "link_error"):
        if options.get(key):
            result = _rename(plan, options[key], level + 1)
            if isinstance(result, str):
                return result
            options[key] = result
    signature["options"] = _rerouted(plan, options)
    if signature["task"] in _CONTAINERS:
        return _rename_container(plan, signature, level)
    return _rename_call(plan, signature)


def _rename_container(plan: Plan, signature: dict[str, Any], level: int) -> Any:
    kwargs = dict(signature.get("kwargs") or {})
    for name in _CONTAINERS[signature["task"]]:
        if kwargs.get(name) is not None:
            result = _rename(plan, kwargs[name], level + 1)
            if isinstance(result, str):
                return result
            kwargs[name] = result
    signature["kwargs"] = kwargs
    return signature


def _rename_call(plan: Plan, signature: dict[str, Any]) -> Any:
    name = signature["task"]
    mapping = plan.mapping(System.CELERY, name)
    if mapping is None:
        return f"{name!r} has no successor in the plan"
    if mapping.operations:
        if not signature.get("immutable"):
            return f"{name!r} takes a result first, and the plan changes its arguments"
        try:
            args, kwargs = adapt(mapping, signature.get("args") or (), signature.get("kwargs") or {})
        except AdaptationError as error:
            return str(error)
        signature["args"], signature["kwargs"] = list(args), kwargs
    signature["task"] = mapping.unified
    return signature


def _rerouted(plan: Plan, options: dict[str, Any]) -> dict[str, Any]:
    legacy = plan.endpoint(System.CELERY)
    if legacy is not None:
        for key in ("queue", "routing_key"):
            if options.get(key) in legacy.queues:
                options[key] = plan.unified.queues[0]
    return options
