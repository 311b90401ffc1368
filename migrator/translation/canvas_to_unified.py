"""Pipelines, chains, callbacks and chords of a legacy message, with the names of the unified tasks.

A part that can't be expressed in the other system makes the whole message stay: a function here then returns the reason
as text instead of a value.

A result comes last in Dramatiq and first in Celery. Where a call's own arguments become keyword arguments and leave the
result to the unified task's first parameter, both mean the same; with ``result_last``, to its first one without an
argument.

Source: dramatiq/middleware/pipelines.py (the result is appended last, unless ``pipe_ignore``), callbacks.py and
retries.py (``on_success`` gets message and result, ``on_failure`` is called after every attempt that fails,
``on_retry_exhausted`` once); celery/canvas.py (a chain is stored last step first, and the result is prepended unless
``immutable``), celery/backends/base.py (errbacks are called once, when a task has failed for good).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from migrator.errors import AdaptationError
from migrator.plan.arguments import RESULT, adapt, bind, for_result
from migrator.plan.model import Plan
from migrator.translation.renaming import MAPPED, Renaming, mapped_task, renamed_items
from migrator.wire.message import System

_MAX_STEPS = 50
_Call = tuple[list[Any], dict[str, Any]]
#: Options of a message that name actors to be called.
CALLBACK_OPTIONS = ("on_success", "on_failure", "on_retry_exhausted")
GROUP_OPTIONS = ("group_completion_uuid", "group_completion_callbacks")
#: Celery's own tasks that hold signatures in their arguments, and the names of those arguments.
CONTAINERS = {
    "celery.group": ("tasks",),
    "celery.chain": ("tasks",),
    "celery.chord": ("header", "body"),
    **dict.fromkeys(MAPPED, ("task",)),
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
        return "a step of the pipeline is not a message"
    name, args, kwargs, options = target.get("actor_name"), target.get("args"), target.get("kwargs"), target["options"]
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        return f"its step {name!r} has no readable arguments"
    if options.get("delay") or any(options.get(option) for option in (*GROUP_OPTIONS, *CALLBACK_OPTIONS)):
        return f"its step {name!r} has a delay or callbacks, or belongs to a group"
    if not options.get("pipe_ignore"):
        args = [*args, RESULT]
    return _signature(plan, name, (args, kwargs), where=f"its step {name!r}", priorities=priorities)


def callback_as_link(
    plan: Plan, option: str, name: Any, message: Mapping[str, Any], *, priorities: Mapping[str, int]
) -> dict[str, Any] | str:
    """Return the signature that is equivalent to a callback of a message, or why there is none.

    Args:
        plan: The plan.
        option: ``on_success`` or ``on_retry_exhausted``; nothing in Celery is called after each attempt that fails.
        name: The callback's actor.
        message: The message, which the callback gets as its first argument.
        priorities: Unified task name to the number on the destination's wire.
    """
    if option == "on_failure":
        return f"on_failure={name!r} is called after every attempt that fails, Celery's errback once"
    call: _Call = ([dict(message), RESULT], {})
    found = _signature(plan, name, call, where=f"{option}={name!r}", priorities=priorities)
    if option == "on_success" or isinstance(found, str):
        return found
    if not found["immutable"]:
        return f"{option}={name!r} takes the number of retries, which Celery does not pass on"
    return found


def _signature(
    plan: Plan, name: Any, call: _Call, *, where: str, priorities: Mapping[str, int]
) -> dict[str, Any] | str:
    """Return a call as a signature; a result among its arguments has to be the first one, where Celery puts it."""
    mapping = plan.mapping(System.DRAMATIQ, name) if isinstance(name, str) else None
    if mapping is None:
        return f"{where} is not in the plan"
    try:
        new_args, named = adapt(mapping, *call)
    except AdaptationError as error:
        return str(error)
    task = plan.task(mapping.unified)
    assert task is not None
    takes_result = any(value is RESULT for value in new_args)
    if takes_result and new_args[0] is not RESULT:
        if not mapping.result_last:
            return f"{where} takes the result after arguments of its own; Celery would put it first"
        new_args, named = (), bind(mapping, *call)
    first = next((key for key, value in named.items() if value is RESULT), None)
    if first is not None:
        del named[first]
        takes_result = True
        given = for_result(task.parameters, named, result_last=mapping.result_last)
        if given != first:
            return f"{where} takes the result as {first!r}, and Celery would give it to {given!r}"
    if _holds_result(named):
        return f"{where} takes the result in another form than the one that Celery passes"
    return {
        "task": mapping.unified,
        "args": [value for value in new_args if value is not RESULT],
        "kwargs": named,
        "options": {"queue": plan.queue_of(mapping.unified), "priority": priorities[mapping.unified]},
        "subtask_type": None,
        "immutable": not takes_result,
        "chord_size": None,
    }


def _holds_result(named: Mapping[str, Any]) -> bool:
    return any(isinstance(value, list) and any(item is RESULT for item in value) for value in named.values())


def to_unified(plan: Plan, priorities: Mapping[str, int]) -> Renaming:
    """Return how the canvas of legacy Celery is rewritten to unified names."""
    parameters = {task.name: task.parameters for task in plan.tasks}
    return Renaming(
        find=lambda name: plan.mapping(System.CELERY, name) or f"{name!r} is not in the plan",
        name=lambda mapping: mapping.unified,
        call=adapt,
        parameters=lambda mapping: parameters[mapping.unified],
        queue=lambda mapping: plan.queue_of(mapping.unified if mapping else ""),
        priority=lambda mapping: priorities.get(mapping.unified),
    )


def renamed_embed(renaming: Renaming, embed: Mapping[str, Any]) -> dict[str, Any] | str:
    """Return the canvas of a Celery message with the new names, or why it can't be expressed."""
    renamed: dict[str, Any] = dict(embed)
    for part in ("callbacks", "errbacks", "chain", "chord"):
        value = renamed.get(part)
        if value is None:
            continue
        result = renamed_signature(renaming, value, 0)
        if isinstance(result, str):
            return f"{part}: {result}"
        renamed[part] = result
    return renamed


def renamed_signature(renaming: Renaming, value: Any, level: int = 0) -> Any:
    """Return a signature or a list of them renamed, or the reason why not as text."""
    if level > 20:
        return "signatures nested deeper than 20 levels"
    if isinstance(value, list):
        renamed = []
        for item in value:
            result = renamed_signature(renaming, item, level + 1)
            if isinstance(result, str):
                return result
            renamed.append(result)
        return renamed
    if not isinstance(value, dict) or not isinstance(value.get("task"), str):
        return f"{type(value).__name__} is not a signature"
    signature = dict(value)
    options = dict(signature.get("options") or {})
    for key in ("link", "link_error"):
        if options.get(key):
            result = renamed_signature(renaming, options[key], level + 1)
            if isinstance(result, str):
                return result
            options[key] = result
    signature["options"] = options
    if signature["task"] in CONTAINERS:
        return _rename_container(renaming, signature, level)
    return _rename_call(renaming, signature)


def _rename_container(renaming: Renaming, signature: dict[str, Any], level: int) -> Any:
    kwargs = dict(signature.get("kwargs") or {})
    if signature["task"] in MAPPED:
        mapped = renamed_items(renaming, signature["task"], kwargs)
        if isinstance(mapped, str):
            return mapped
        mapping = renaming.find(mapped_task(kwargs))
        renaming.reroute(signature["options"], None if isinstance(mapping, str) else mapping)
        signature["task"], signature["kwargs"] = mapped
        return signature
    for name in CONTAINERS[signature["task"]]:
        if kwargs.get(name) is not None:
            result = renamed_signature(renaming, kwargs[name], level + 1)
            if isinstance(result, str):
                return result
            kwargs[name] = result
    signature["kwargs"] = kwargs
    if any(signature["options"].get(name) for name in ("queue", "exchange", "routing_key")):
        renaming.reroute(signature["options"], None)
    return signature


def _rename_call(renaming: Renaming, signature: dict[str, Any]) -> Any:
    name = signature["task"]
    mapping = renaming.find(name)
    if isinstance(mapping, str):
        return mapping
    if mapping.operations or (mapping.result_last and signature.get("kwargs")):
        if not signature.get("immutable"):
            return f"{name!r} takes a result first, but the plan changes its arguments"
        try:
            args, kwargs = renaming.call(mapping, signature.get("args") or (), signature.get("kwargs") or {})
        except AdaptationError as error:
            return str(error)
        signature["args"], signature["kwargs"] = list(args), kwargs
    signature["task"] = renaming.name(mapping)
    renaming.reroute(signature["options"], mapping)
    return signature
