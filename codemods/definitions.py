"""Dramatiq actors that the plan maps to themselves become Celery tasks where they stand.

The name is written out, so that nothing depends on the module path. What the configured middleware did is written out
too: retries with their backoff, the time limit, the age limit. An option without an equal leaves the actor as it is.
Source: ``dramatiq/actor.py``, ``dramatiq/middleware/retries.py``, ``celery/app/autoretry.py``, ``celery/app/task.py``.
"""

from __future__ import annotations

import libcst as cst

from codemods.engine.context import FileContext, LeaveError
from codemods.engine.names import free_name, used_names
from codemods.engine.registry import Rewrite
from codemods.engine.schedule_text import quoted
from codemods.engine.targets import Target
from codemods.engine.units import constant, shown
from codemods.engine.values import text_of

_ACTORS = frozenset({"dramatiq.actor", "dramatiq.actor.actor"})
#: How far the hard limit, which kills the process, lies above the soft one.
_GRACE_S = 60
_WRAPPER = """def {name}(function):
    # Celery runs plain functions only.
    @{wraps}(function)
    def call(*args, **kwargs):
        return {run}(function)(*args, **kwargs)

    return call


"""
_READ = frozenset(
    {"actor_name", "queue_name", "priority", "max_retries", "min_backoff", "max_backoff", "time_limit", "max_age"}
    | {"throws", "store_results", "periodic"}
)


def rewrite(context: FileContext) -> None:
    """Convert the actors of a file."""
    for node in context.tree.definitions:
        if not isinstance(node, cst.FunctionDef) or context.tree.scopes[node].parent is not None:
            continue
        target = context.index.targets.get(f"{context.values.where.module}.{node.name.value}")
        if target is None or not target.in_place:
            continue
        for decorator in node.decorators:
            called = decorator.decorator
            function = called.func if isinstance(called, cst.Call) else called
            if context.values.only(function) in _ACTORS:
                with context.attempt(decorator):
                    _convert(context, node, decorator, function, target)
    for node in context.tree.definitions:
        if isinstance(node, cst.ClassDef):
            target = context.index.targets.get(f"{context.values.where.module}.{node.name.value}")
            if target is not None and target.in_place and not target.converted:
                context.leave(node, "ACTOR-OPTION", "a class-based actor")


def _convert(
    context: FileContext, node: cst.FunctionDef, decorator: cst.Decorator, function: cst.BaseExpression, target: Target
) -> None:
    called = decorator.decorator
    given: dict[str, cst.Arg] = {}
    for arg in called.args if isinstance(called, cst.Call) else ():
        if arg.keyword is None or arg.star:
            raise LeaveError("ACTOR-OPTION", arg, "unpacked or by position")
        if arg.keyword.value not in _READ:
            raise LeaveError("ACTOR-OPTION", arg, arg.keyword.value)
        given[arg.keyword.value] = arg
    parts = [f"name={quoted(target.unified)}"]
    parts += _routing(context, given)
    parts += _retries(context, given, decorator)
    parts += _limits(context, given)
    stored = given.get("store_results")
    keeps = stored is not None and isinstance(stored.value, cst.Name) and stored.value.value == "True"
    parts.append(f"ignore_result={not keeps}")
    _check_periodic(context, node, given)
    name = context.local_import("celery", "shared_task", function)
    text = f"{name}({', '.join(parts)})"
    if node.asynchronous is not None:
        text += f"{context.source.newline()}@{_plain_function(context, node)}"
    context.replace(called, text)


def _plain_function(context: FileContext, node: cst.FunctionDef) -> str:
    """Return the name of the decorator that runs a coroutine function to its end; write it if the file has none.

    ``async_to_sync`` alone is no function, and Celery needs one with a name.
    """
    if not context.async_wrapper:
        wraps, run = context.local_import("functools", "wraps"), context.local_import("asgiref.sync", "async_to_sync")
        context.async_wrapper = free_name(context, "run_to_its_end", used_names(context))
        start = context.source.span(node.decorators[0])[0]
        lines = _WRAPPER.format(name=context.async_wrapper, wraps=wraps, run=run).split("\n")
        context.replace_span(start, start, context.source.newline().join(lines))
    return context.async_wrapper


def _routing(context: FileContext, given: dict[str, cst.Arg]) -> list[str]:
    queue = given.get("queue_name")
    parts = []
    if queue is not None:
        name = text_of(queue.value)
        if name is None or name not in context.index.legacy_queues | context.index.unified_queues:
            raise LeaveError("QUEUE-OPTION", queue, context.source.code(queue.value))
        if name in context.index.unified_queues and name != context.index.unified_queue:
            parts.append(f"queue={quoted(name)}")
    priority = given.get("priority")
    if priority is not None and constant(priority.value) != 0:
        raise LeaveError(
            "ACTOR-OPTION", priority, "priority: lower is sooner here, and depends on the broker in Celery"
        )
    return parts


def _retries(context: FileContext, given: dict[str, cst.Arg], decorator: cst.Decorator) -> list[str]:
    policy = context.index.policy
    if not policy.known:
        raise LeaveError("ACTOR-OPTION", decorator, f"the retry policy is unknown: {policy.why}")
    options = [given[name] for name in ("max_retries", "min_backoff", "max_backoff", "throws") if name in given]
    if not policy.retries:
        if options:
            raise LeaveError("ACTOR-OPTION", options[0], "the broker has no Retries middleware")
        return ["max_retries=0"]
    endless = "max_retries" in given and _is_none(given["max_retries"].value)
    count = None if endless else _number(given, "max_retries", policy.max_retries)
    if count == 0:
        return ["max_retries=0"]
    factor_ms = _number(given, "min_backoff", policy.min_backoff_ms) or policy.min_backoff_ms
    limit_ms = _number(given, "max_backoff", policy.max_backoff_ms) or policy.max_backoff_ms
    if factor_ms < 1000:
        raise LeaveError("ACTOR-OPTION", given.get("min_backoff", decorator), "Celery's backoff is a second or more")
    parts = ["autoretry_for=(Exception,)"]
    if "throws" in given:
        parts.append(f"dont_autoretry_for={_exceptions(context, given['throws'])}")
    parts.append(f"max_retries={'None' if count is None else int(count)}")
    parts.append(f"retry_backoff={shown(factor_ms / 1000)}")
    parts.append(f"retry_backoff_max={shown(min(limit_ms, 604_800_000) / 1000)}")
    return [*parts, "retry_jitter=True"]


def _limits(context: FileContext, given: dict[str, cst.Arg]) -> list[str]:
    parts = []
    limit_ms = _number(given, "time_limit", context.index.policy.time_limit_ms)
    if limit_ms is not None:
        parts.append(f"soft_time_limit={shown(limit_ms / 1000)}")
        parts.append(f"time_limit={shown(limit_ms / 1000 + _GRACE_S)}")
    age_ms = _number(given, "max_age", context.index.policy.max_age_ms)
    if age_ms is not None:
        parts.append(f"expires={shown(age_ms / 1000)}")
    return parts


def _check_periodic(context: FileContext, node: cst.FunctionDef, given: dict[str, cst.Arg]) -> None:
    """A periodic actor loses its clock only if the plan's schedule has it."""
    entry = f"{context.values.where.module}:{node.name.value}"
    if "periodic" in given and entry not in context.index.schedule:
        raise LeaveError("SCHEDULE-JOB", given["periodic"], context.source.code(given["periodic"].value))


def _number(given: dict[str, cst.Arg], name: str, default: float | None) -> float | None:
    if name not in given:
        return default
    value = constant(given[name].value)
    if value is None and not _is_none(given[name].value):
        raise LeaveError("ACTOR-OPTION", given[name], f"{name} is computed")
    return value


def _exceptions(context: FileContext, arg: cst.Arg) -> str:
    code = context.source.code(arg.value)
    if isinstance(arg.value, cst.Tuple):
        return code
    if (
        isinstance(arg.value, (cst.Name, cst.Attribute))
        and code.rpartition(".")[2][:1].isupper()
        and not code.isupper()
    ):
        return f"({code},)"
    raise LeaveError("ACTOR-OPTION", arg, "throws is computed")


def _is_none(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Name) and node.value == "None"


REWRITE = Rewrite(name="definitions", whole_file=rewrite)
