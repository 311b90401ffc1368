"""The options of an actor as those of a Celery task, with what the configured middleware did written out.

An option without an equal leaves the actor as it is.
Source: ``dramatiq/actor.py``, ``dramatiq/middleware/*.py`` (``actor_options``), ``celery/app/autoretry.py``,
``celery/app/task.py``, ``kombu/transport/redis.py`` (0 is soonest), RabbitMQ's priority queues (9 is soonest).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import libcst as cst

from codemods.calls.queues import planned_queue
from codemods.calls.task_support import CALLBACKS, RETRY_WHEN, base_class
from codemods.editing.context import FileContext, LeaveError
from codemods.editing.units import constant, shown
from codemods.plan.plan_index import Target
from codemods.resolve.name_resolution import text_of
from codemods.schedules.job_triggers import tell_difference, trigger_text
from codemods.schedules.schedule_text import quoted
from codemods.syntax.scopes import BindingKind
from migrator.wire.message import System

Options = Mapping[str, cst.BaseExpression]

#: How much longer than the soft limit the hard one is, which kills the process.
_GRACE_S = 60
_CALLBACKS = {"on_success": "success_task", "on_failure": "failure_task", "on_retry_exhausted": "exhausted_task"}
#: Steps between which Celery tells priorities apart on Redis by default; mirrored on RabbitMQ.
_STEPS = (0, 3, 6, 9)
_READ = frozenset(
    {"actor_name", "queue_name", "priority", "broker", "max_retries", "min_backoff", "max_backoff", "throws"}
    | {"retry_when", "time_limit", "max_age", "store_results", "periodic"}
    | _CALLBACKS.keys()
)


def task_options(context: FileContext, target: Target, given: Options, place: cst.CSTNode) -> list[str]:
    """Return the keyword arguments of ``shared_task`` for an actor with these options.

    Raises:
        LeaveError: One has no equal, or the policy of the broker is unknown.
    """
    for name, value in given.items():
        if name not in _READ:
            raise LeaveError("ACTOR-OPTION", value, f"Celery has no equivalent of {name}")
    if "actor_name" in given and text_of(given["actor_name"]) not in (None, target.name):
        raise LeaveError("ACTOR-OPTION", given["actor_name"], f"actor_name: the plan has {target.name!r}")
    parts = [f"name={quoted(target.unified)}", *_routing(context, given, target), *_priority(context, given, place)]
    parts += _retries(context, given, place)
    parts += _limits(context, given, place)
    extra, features = _former(context, given)
    stored = given.get("store_results")
    if stored is not None and not (isinstance(stored, cst.Name) and stored.value in {"True", "False", "None"}):
        raise LeaveError("ACTOR-OPTION", stored, "store_results is computed")
    stores = isinstance(stored, cst.Name) and stored.value == "True" if stored else context.index.policy.stores_results
    # A message of Dramatiq is acknowledged when its actor is done, and runs again if its worker dies before.
    parts += ["acks_late=True", "reject_on_worker_lost=True", f"ignore_result={not stores}"]
    if "periodic" in given:
        check_scheduled(context, target, given["periodic"])
        if isinstance(given["periodic"], cst.Call):
            context.result.replaced.append(given["periodic"].func)
    if features:
        parts.insert(1, f"base={base_class(context, features)}")
    return [*parts, *extra]


def check_scheduled(context: FileContext, target: Target, node: cst.BaseExpression) -> None:
    """Check that the plan has the schedule that an actor gives itself: only then may it be removed from the actor.

    Raises:
        LeaveError: It is not in the plan; the detail is the same schedule as the plan writes it.
    """
    module, _, name = target.path.rpartition(".")
    text = trigger_text(context, node)
    if f"{module}:{name}" not in context.index.schedule:
        raise LeaveError("SCHEDULE-JOB", node, text or context.source.code(node))
    tell_difference(context, node, f"{module}:{name}", text)


def _routing(context: FileContext, given: Options, target: Target) -> list[str]:
    """Write the queue: the actor's own where unified workers consume it, else the plan's; the first is the default."""
    node = given.get("queue_name")
    name = target.queue if node is None else planned_queue(context, node, target) or text_of(node)
    if name is None and node is not None:
        return [f"queue={context.source.code(node)}"]
    return [f"queue={quoted(name)}"] if name and name != context.index.unified_queue else []


def _priority(context: FileContext, given: Options, place: cst.CSTNode) -> list[str]:
    """Write a priority if the project's actors differ in theirs: the same order, in the direction of the broker."""
    node = given.get("priority")
    value = 0 if node is None else number(context, node)
    levels = context.index.priorities
    if levels == (0,) and value == 0:
        return []
    if value is None or value not in levels:
        raise LeaveError("ACTOR-OPTION", node or place, "priority: another actor's, or this one's, is computed")
    if len(levels) == 1:
        return []
    if len(levels) > len(_STEPS) or not context.index.broker_kind:
        why = (
            f"the project has {len(levels)} levels ({', '.join(map(str, levels))}), Celery tells four apart: merge some"
        )
        if len(levels) <= len(_STEPS):
            why = "the kind of the unified broker is unknown: name it in the plan's unified.broker"
        raise LeaveError("ACTOR-OPTION", node or place, f"priority: {why}")
    step = _STEPS[levels.index(int(value))]
    if context.index.broker_kind == "redis":
        return [f"priority={step}"]
    context.leave(node or place, "PRIORITY-OPTION", "RabbitMQ needs task_queue_max_priority for it")
    return [f"priority={9 - step}"]


def _retries(context: FileContext, given: Options, place: cst.CSTNode) -> list[str]:
    policy = context.index.policy
    if not policy.known:
        raise LeaveError("ACTOR-OPTION", place, f"the retry policy is unknown: {policy.why}")
    names = ("max_retries", "min_backoff", "max_backoff", "throws", "retry_when")
    options = [given[name] for name in names if name in given]
    if not policy.retries:
        if options:
            raise LeaveError("ACTOR-OPTION", options[0], "the broker has no Retries middleware")
        return ["max_retries=0"]
    endless = _is_none(given.get("max_retries")) or not _is_none(given.get("retry_when", _NONE))
    count = None if endless else _number(context, given, "max_retries", policy.max_retries)
    if count == 0:
        return ["max_retries=0"]
    factor_ms = _number(context, given, "min_backoff", policy.min_backoff_ms) or policy.min_backoff_ms
    limit_ms = _number(context, given, "max_backoff", policy.max_backoff_ms) or policy.max_backoff_ms
    if factor_ms < 1000:
        why = f"min_backoff is {factor_ms:g} ms, Celery's starts at a second: make it 1000, or raise task.retry"
        raise LeaveError("ACTOR-OPTION", given.get("min_backoff", place), why)
    parts = ["autoretry_for=(Exception,)"]
    if not _is_none(given.get("throws", _NONE)):
        parts.append(f"dont_autoretry_for={_exceptions(context, given['throws'])}")
    parts.append(f"max_retries={'None' if count is None else int(count)}")
    parts.append(f"retry_backoff={math.ceil(factor_ms / 1000)}")  # Celery drops the fraction: never sooner than before
    parts.append(f"retry_backoff_max={shown(min(limit_ms, 604_800_000) / 1000)}")
    return [*parts, "retry_jitter=False"]  # Celery's jitter begins at 0; without it: the shortest wait of Dramatiq's


def _limits(context: FileContext, given: Options, place: cst.CSTNode) -> list[str]:
    parts = []
    limit_ms = _number(context, given, "time_limit", context.index.policy.time_limit_ms)
    visible_s = context.index.visibility_timeout_s
    if context.index.broker_kind != "rabbitmq" and (limit_ms is None or limit_ms / 1000 + _GRACE_S > visible_s):
        detail = "it has no time limit" if limit_ms is None else f"its time limit is {shown(limit_ms / 1000)} s"
        detail += f", the timeout is {shown(visible_s)} s"
        # What the broker says about all actors is told once a file.
        if not any(leftover.detail == detail for leftover in context.result.leftovers):
            context.leave(given.get("time_limit", place), "LONG-TASK", detail)
    if limit_ms is not None:
        parts.append(f"soft_time_limit={shown(limit_ms / 1000)}")
        parts.append(f"time_limit={shown(limit_ms / 1000 + _GRACE_S)}")
    age_ms = _number(context, given, "max_age", context.index.policy.max_age_ms)
    if age_ms is not None:
        parts.append(f"expires={shown(age_ms / 1000)}")
    return parts


def _former(context: FileContext, given: Options) -> tuple[list[str], set[str]]:
    """Return what the base class of the file does for this actor."""
    parts, features = [], set()
    if not _is_none(given.get("retry_when", _NONE)):
        parts.append(f"retry_when=staticmethod({context.source.code(given['retry_when'])})")
        features.add(RETRY_WHEN)
    for name, attribute in _CALLBACKS.items():
        node = given.get(name, _NONE)
        if _is_none(node):
            continue
        target = context.index.named(text_of(node) or "", System.DRAMATIQ)
        if target is None or target.retired or target.operations:
            raise LeaveError("ACTOR-OPTION", node, f"{name}: no actor of the plan that keeps its arguments")
        parts.append(f"{attribute}={quoted(target.unified)}")
        features.add(CALLBACKS)
    return parts, features


def _number(context: FileContext, given: Options, name: str, default: float | None) -> float | None:
    if name not in given:
        return default
    value = number(context, given[name])
    if value is None and not _is_none(given[name]):
        raise LeaveError("ACTOR-OPTION", given[name], f"{name} is computed")
    return value


def number(context: FileContext, node: cst.BaseExpression) -> float | None:
    """Return a number that is written out, or a constant of the file that holds one; None if it is computed."""
    if isinstance(node, cst.Name):
        found = context.values.bindings(node)
        value = found[0].value if len(found) == 1 and found[0].kind is BindingKind.ASSIGN else None
        return constant(value) if value is not None else None
    return constant(node)


def _exceptions(context: FileContext, node: cst.BaseExpression) -> str:
    code = context.source.code(node)
    if isinstance(node, cst.Tuple):
        return code
    leaf = code.rpartition(".")[2]
    if isinstance(node, (cst.Name, cst.Attribute)) and leaf[:1].isupper() and not code.isupper():
        return f"({code},)"
    raise LeaveError("ACTOR-OPTION", node, "throws is computed")


_NONE = cst.Name("None")


def _is_none(node: cst.BaseExpression | None) -> bool:
    return isinstance(node, cst.Name) and node.value == "None"
