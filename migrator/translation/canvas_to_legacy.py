"""Chains and callbacks of a native unified message, in the form of the legacy system that it goes back to.

Celery: chain, callbacks and errbacks with the legacy names. A chord's counter is in the unified app's result backend,
so messages that belong to a chord stay.

Dramatiq: a chain, or a single callback, becomes a pipeline: both start the next task with the result once a task has
succeeded. Celery puts the result first and Dramatiq behind the positional arguments, so those in front of it become
positional, and the others keyword arguments. Errbacks have no counterpart: ``on_failure`` and
``on_retry_exhausted`` name an actor, which gets the whole message.

A part that can't be expressed makes the whole message stay: a function here then returns the reason as text.

Source: celery/canvas.py (a chain is stored last step first), celery/backends/base.py (callbacks);
dramatiq/middleware/pipelines.py.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from migrator.errors import AdaptationError
from migrator.plan.arguments import RESULT, Call, bind, restore
from migrator.plan.model import Plan, TaskMapping
from migrator.translation.canvas_to_unified import renamed_embed
from migrator.translation.renaming import Renaming
from migrator.wire.message import System

_MAX_STEPS = 50
#: Options of a signature that don't affect what a legacy step does.
_NEUTRAL = {"task_id", "reply_to", "root_id", "parent_id", "queue", "routing_key", "priority", "ignore_result"}


def embed_for_celery(plan: Plan, embed: Mapping[str, Any]) -> dict[str, Any] | str:
    """Return callbacks, errbacks and chain with legacy Celery names, or why they can't be expressed."""
    if embed.get("chord"):
        return "it belongs to a chord, whose counter only the unified app can find"
    legacy = plan.endpoint(System.CELERY)
    renaming = Renaming(
        find=lambda name: _primary(plan, name, System.CELERY),
        name=lambda mapping: mapping.name,
        call=lambda mapping, args, kwargs: _legacy_call(plan, mapping, args, kwargs),
        parameters=lambda mapping: mapping.parameters,
        queue=lambda mapping: (mapping.queue if mapping else "") or (legacy.queues[0] if legacy else ""),
        priority=lambda mapping: None,
    )
    return renamed_embed(renaming, embed)


def embed_as_pipeline(plan: Plan, embed: Mapping[str, Any], *, queue: str, now_ms: int) -> dict[str, Any] | str:
    """Return the next message of a Dramatiq pipeline, with all following ones nested in it, or why there is none.

    Args:
        plan: The plan.
        embed: Callbacks, errbacks, chain and chord of the message; at least one of them is set.
        queue: The legacy queue.
        now_ms: The current time.
    """
    for part in ("errbacks", "chord"):
        if embed.get(part):
            return f"{part}: Dramatiq has no counterpart"
    chain, callbacks = embed.get("chain") or [], embed.get("callbacks") or []
    steps = chain or callbacks
    if not isinstance(steps, list) or (chain and callbacks) or len(callbacks) > 1:
        return "it starts several tasks when it ends, a pipeline only one"
    if len(steps) > _MAX_STEPS:
        return f"a chain of more than {_MAX_STEPS} steps"
    target: dict[str, Any] | str = ""
    for step in steps:
        options: dict[str, Any] = {"pipe_target": target} if target else {}
        target = _step(plan, step, options)
        if isinstance(target, str):
            return target
        target |= {"queue_name": queue, "message_timestamp": now_ms}
    return target


def _step(plan: Plan, step: Any, options: dict[str, Any]) -> dict[str, Any] | str:
    if not isinstance(step, dict) or not isinstance(step.get("task"), str):
        return f"{type(step).__name__} is not a signature"
    given = step.get("options") or {}
    other = sorted(name for name, value in given.items() if value and name not in _NEUTRAL)
    if other:
        return f"its step {step['task']!r} has {', '.join(map(str, other))}"
    mapping = _primary(plan, step["task"], System.DRAMATIQ)
    if isinstance(mapping, str):
        return mapping
    args, kwargs = step.get("args") or [], step.get("kwargs") or {}
    try:
        if step.get("immutable"):
            args, kwargs = _legacy_call(plan, mapping, args, kwargs)
            options["pipe_ignore"] = True
        else:
            args, kwargs = _legacy_call(plan, mapping, [RESULT, *args], kwargs)
            named = bind(mapping, args, kwargs)
            before = _before_result(mapping, named)
            if before is None:
                return f"its step {step['task']!r} takes the result as another parameter than {mapping.name!r} does"
            args = [named.pop(name) for name in before]
            kwargs = {name: value for name, value in named.items() if value is not RESULT}
    except AdaptationError as error:
        return str(error)
    identity = given.get("task_id")
    return {
        "actor_name": mapping.name,
        "args": list(args),
        "kwargs": kwargs,
        "options": options,
        "message_id": identity if isinstance(identity, str) else str(uuid.uuid4()),
    }


def _before_result(mapping: TaskMapping, named: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the parameters in front of the one with the result; None if it isn't one, or one of them has no value.

    Dramatiq puts a result behind the positional arguments, so those have to be positional.
    """
    for index, name in enumerate(mapping.parameters):
        if name not in named:
            return None
        if named[name] is RESULT:
            return mapping.parameters[:index]
    return None


def _primary(plan: Plan, name: str, system: System) -> TaskMapping | str:
    mapping = plan.primary(name)
    if mapping is None or mapping.system is not system:
        return f"{name!r} has no legacy form in {system.value}"
    return mapping


def _legacy_call(plan: Plan, mapping: TaskMapping, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
    task = plan.task(mapping.unified)
    return restore(mapping, task.parameters if task else (), args, kwargs)
