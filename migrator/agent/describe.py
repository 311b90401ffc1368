"""Describe a task without running it: policy, wire and signature, in one vocabulary for both libraries.

Source: ``dramatiq/middleware`` (AgeLimit, Retries, TimeLimit: an actor's option wins over the middleware's) and
``celery/app/task.py`` (from_config: a task's attribute wins over the app's setting).
"""

from __future__ import annotations

import datetime as dt
import importlib
import inspect
import uuid
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from .locks import lock_options, locks
from .staying_probe import queue_of

#: One value of each type that a wire may lose.
PROBES: Mapping[str, Any] = {
    "datetime": dt.datetime(2026, 3, 2, 12, 0, tzinfo=dt.timezone.utc),
    "date": dt.date(2026, 3, 2),
    "decimal": Decimal("1.10"),
    "uuid": uuid.UUID(int=7),
    "bytes": b"\x00\xff",
    "tuple": (1, 2),
    "set": {1},
    "integer keys": {1: 2},
    "float": 0.1,
    "large integer": 2**70,
    "text beyond ASCII": "\u00e9\U0001f600",
}
#: Dramatiq's own middleware, the agent's, and what Celery does for Django by itself (celery/fixups/django.py closes old
#: connections); the names of all others are part of the policy.
_STANDARD = frozenset(
    {"AgeLimit", "TimeLimit", "ShutdownNotifications", "Callbacks", "Pipelines", "Retries", "AsyncIO", "Prometheus"}
    | {"CurrentMessage", "Results", "GroupCallbacks", "ActorListener", "SeedBeforeRetries", "PeriodiqMiddleware"}
    | {"DbConnectionsMiddleware"}
)


def describe(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of every requested task by name, and the schedules of the requested modules."""
    tasks: dict[str, Any] = {}
    timezone = ""
    for item in request["tasks"]:
        try:
            module, _, attribute = item["path"].rpartition(".")
            target = getattr(importlib.import_module(module), attribute)
            timezone = timezone or str(getattr(getattr(target, "app", None), "timezone", ""))
            tasks[item["name"]] = _actor(target) if item["system"] == "dramatiq" else _task(target)
        except Exception as error:  # noqa: BLE001 - the parent reports what could not be compared
            tasks[item["name"]] = {"broken": f"{type(error).__name__}: {error}"}
    schedules: dict[str, Any] = {}
    for module in request["schedules"]:
        try:
            schedules |= _schedules(module)
        except ImportError as error:
            schedules[f"{module}:"] = {"broken": str(error)}
    return {"tasks": tasks, "schedules": schedules, "timezone": timezone, "local_timezone": _local_timezone()}


def _local_timezone() -> str:
    """Return the zone of a process of the project, which Django sets for it; empty if that is left to the machine."""
    from django.conf import settings

    return str(settings.TIME_ZONE or "") if settings.configured else ""


def _actor(actor: Any) -> dict[str, Any]:
    import dramatiq
    from dramatiq.middleware import AgeLimit, Retries, TimeLimit

    found = {type(item): item for item in actor.broker.middleware}

    def seconds(option: str, kind: Any) -> float | None:
        default = getattr(found.get(kind), option, None)
        value = actor.options.get(option, default)
        return None if value is None or kind not in found else value / 1000

    retries = found.get(Retries)
    results = next((item for item in actor.broker.middleware if type(item).__name__ == "Results"), None)
    stores = results is not None and bool(actor.options.get("store_results", results.store_results))
    encoder = dramatiq.get_encoder()
    body, classes = _body(actor)
    names = [*(type(item).__name__ for item in actor.broker.middleware), *classes]
    return {
        "policy": {
            "name": actor.actor_name,
            "queue": actor.queue_name,
            "priority": actor.priority,
            "max_retries": actor.options.get("max_retries", retries.max_retries) if retries else None,
            "retried": _retried_actor(actor, retries),
            "backoff_s": _actor_backoff(seconds("min_backoff", Retries), seconds("max_backoff", Retries)),
            "time_limit_s": seconds("time_limit", TimeLimit),
            "soft_time_limit_s": seconds("time_limit", TimeLimit),
            "max_age_s": seconds("max_age", AgeLimit),
            "stores_result": stores,
            "result_kept_s": actor.options.get("result_ttl", results.result_ttl) / 1000 if results and stores else None,
            "acknowledged": "when done",
            "again_when_worker_dies": True,
            "encoder": type(encoder).__name__,
            "rate_limit": None,
            "locks": locks(body),
            "middleware": sorted(name for name in names if name not in _STANDARD),
        },
        "wire": _wire(lambda value: encoder.decode(encoder.encode({"value": value}))["value"]),
        "parameters": _parameters(body),
    }


def _body(actor: Any) -> tuple[Any, list[str]]:
    """Return the function of an actor, and the classes of a class-based one: Celery's counterpart are base classes."""
    import dramatiq

    body = actor.fn
    if not isinstance(body, dramatiq.GenericActor):
        return body, []
    kinds = [kind for kind in type(body).__mro__[:-1] if kind.__module__.partition(".")[0] != "dramatiq"]
    return body.perform, [kind.__name__ for kind in kinds]


def _task(task: Any) -> dict[str, Any]:
    from celery.backends.base import DisabledBackend
    from kombu.serialization import dumps, loads, prepare_accept_content

    app = task.app
    soft = task.soft_time_limit or app.conf.task_soft_time_limit
    hard = task.time_limit or app.conf.task_time_limit
    stores = not task.ignore_result and not isinstance(task.backend, DisabledBackend)

    def there_and_back(value: Any) -> Any:
        kind, encoding, data = dumps({"value": value}, task.serializer)
        return loads(data, kind, encoding, accept=prepare_accept_content(app.conf.accept_content))["value"]

    return {
        "policy": {
            "name": task.name,
            "queue": queue_of(app, task),
            "priority": task.priority,
            "max_retries": task.max_retries,
            "retried": _retried_task(task),
            "backoff_s": _task_backoff(task),
            "time_limit_s": float(hard) if hard else None,
            "soft_time_limit_s": float(soft) if soft else None,
            "max_age_s": float(task.expires) if isinstance(task.expires, (int, float)) else None,
            "stores_result": stores,
            "result_kept_s": _seconds(app.conf.result_expires) if stores else None,
            "acknowledged": "when done" if task.acks_late else "when taken",
            "again_when_worker_dies": bool(task.acks_late and task.reject_on_worker_lost),
            "encoder": task.serializer,
            "rate_limit": task.rate_limit,
            "locks": sorted([*locks(task.run), *lock_options(task)]),
            "middleware": _base_classes(task),
        },
        "wire": _wire(there_and_back),
        "parameters": _parameters(task.run),
    }


def _retried_actor(actor: Any, retries: Any) -> str:
    """Return for which exceptions a message is retried."""
    if retries is None:
        return "never"
    when = actor.options.get("retry_when") or retries.retry_when
    if when is not None:
        return f"when {getattr(when, '__name__', when)} says so"
    return _retried((Exception,), actor.options.get("throws"))


def _retried_task(task: Any) -> str:
    autoretry = getattr(task, "autoretry_for", ())
    if not autoretry:
        return "when the body asks for it"
    return _retried(autoretry, getattr(task, "dont_autoretry_for", ()))


def _retried(wanted: Any, unwanted: Any) -> str:
    def names(kinds: Any) -> str:
        found = kinds if isinstance(kinds, (tuple, list)) else (kinds,) if kinds else ()
        return ", ".join(sorted(kind.__name__ for kind in found))

    return f"for {names(wanted)}" + (f", not for {names(unwanted)}" if unwanted else "")


def _actor_backoff(first_s: float | None, most_s: float | None) -> str | None:
    return None if first_s is None or most_s is None else f"{first_s:g} to {most_s:g}, doubling, with jitter"


def _task_backoff(task: Any) -> str:
    """Return how long a task waits before a retry; a countdown given in the body shows when cases are run."""
    from celery import Task

    if task.__class__.retry is not Task.retry:
        return f"as {next(kind.__name__ for kind in task.__class__.__mro__ if 'retry' in vars(kind))}.retry says"
    backoff = getattr(task, "retry_backoff", False)
    if not (getattr(task, "autoretry_for", ()) and backoff):
        return f"{task.default_retry_delay:g}, fixed, where the body says nothing else"
    jitter = ", with jitter" if getattr(task, "retry_jitter", True) else ""
    return f"{int(backoff):g} to {getattr(task, 'retry_backoff_max', 600):g}, doubling{jitter}"


def _base_classes(task: Any) -> list[str]:
    """Return the base classes of a project's tasks, the counterpart of middleware."""
    found = [kind for kind in task.__class__.__mro__[1:] if not kind.__module__.startswith(("celery.", "builtins"))]
    return sorted(kind.__name__ for kind in found if kind.__name__ != "object")


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    return float(value.total_seconds()) if isinstance(value, dt.timedelta) else float(value)


def _wire(there_and_back: Callable[[Any], Any]) -> dict[str, str]:
    result = {}
    for name, value in PROBES.items():
        try:
            arrived = there_and_back(value)
        except Exception as error:  # noqa: BLE001 - an encoder may raise anything; the exception is the answer
            result[name] = f"refused with {type(error).__name__}"
            continue
        same = arrived == value and type(arrived) is type(value)
        result[name] = "kept" if same else f"becomes {type(arrived).__name__}"
    return result


def _parameters(function: Callable[..., Any]) -> list[dict[str, Any]]:
    found = inspect.signature(function).parameters.values()
    return [
        {
            "name": item.name,
            "kind": item.kind.name.lower().replace("_", " "),
            "default": None if item.default is item.empty else repr(item.default),
        }
        for item in found
    ]


def _schedules(module: str) -> dict[str, Any]:
    from celery import Celery

    loaded = importlib.import_module(module)
    apps: Sequence[Any] = [value for value in vars(loaded).values() if isinstance(value, Celery)]
    result = {}
    for app in apps:
        for name, entry in (app.conf.beat_schedule or {}).items():
            result[f"{module}:{name}"] = {
                "task": entry["task"],
                "args": list(entry.get("args", ())),
                "kwargs": dict(entry.get("kwargs", {})),
                "timezone": str(app.timezone),
                **_times(entry["schedule"]),
            }
    return result


def _times(schedule: Any) -> dict[str, Any]:
    if isinstance(schedule, (int, float)):
        return {"every_s": float(schedule)}
    if isinstance(schedule, dt.timedelta):
        return {"every_s": schedule.total_seconds()}
    if hasattr(schedule, "_orig_minute"):
        fields = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
        return {"crontab": " ".join(str(getattr(schedule, f"_orig_{field}")) for field in fields)}
    if type(schedule).__name__ == "schedule":
        return {"every_s": schedule.run_every.total_seconds()}
    return {"broken": f"a schedule of a kind that can't be compared ({type(schedule).__name__})"}
