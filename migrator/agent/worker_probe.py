"""Import what a unified worker imports and report what it would do.

Each task of the plan is sent once to a broker in memory: name, queue and priority on the wire are those of a real
message. No connection is opened. The arguments are the settings, the app, the queues with commas between them, and
``TASK=PATH`` for each task.

Source: celery/loaders/base.py (`import_default_modules`), celery/app/base.py (`send_task`), celery/app/amqp.py
(`before_task_publish` comes with the properties of the message; `Queues` completes each queue), kombu/entity.py
(`Queue.queue_declare`).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from . import celery_app, versions
from .project_setup import set_up


def answer(arguments: Sequence[str]) -> dict[str, Any]:
    """Import the app and send each task once."""
    settings, name, queues, *tasks = arguments
    set_up(settings)
    paths = dict(task.split("=", 1) for task in tasks)
    app = celery_app.find(name) if name else celery_app.loaded(_of_a_task(paths))
    known = [task for task in paths if task in app.tasks]
    return {
        "app": str(app.main),
        "registered": sorted(app.tasks),
        "settings": _settings(app),
        "retries": {name: _retries(app.tasks[name]) for name in known},
        "sent": _sent(app, known),
        "queues": {queue: _declared(app, queue) for queue in queues.split(",") if _has(app, queue)},
        "schedule": celery_app.schedule_of(app),
        "versions": versions.answer(()),
    }


def _of_a_task(paths: Mapping[str, str]) -> Any:
    module, _, function = next(iter(paths.values())).rpartition(".")
    return getattr(importlib.import_module(module), function).app


def _settings(app: Any) -> dict[str, Any]:
    options = app.conf.broker_transport_options or {}
    names = ("visibility_timeout", "sep", "priority_steps", "global_keyprefix", "queue_order_strategy")
    steps = {getattr(step, "__name__", str(step).rpartition(":")[2]) for step in app.steps["consumer"]}
    return {
        "scheme": str(app.conf.broker_read_url or app.conf.broker_url or "").partition("://")[0],
        "broker": _broker(app),
        "transport": {name: options[name] for name in names if name in options},
        "always_eager": bool(app.conf.task_always_eager),
        "beat_scheduler": str(app.conf.beat_scheduler),
        "catches_aliases": "LegacyAliases" in steps and "DeadLetterConsumer" in str(app.conf.worker_consumer),
        "releases_parked": "ReleaseParked" in steps,
    }


def _has(app: Any, name: str) -> bool:
    return name in app.amqp.queues or bool(app.conf.task_create_missing_queues)


def _declared(app: Any, name: str) -> dict[str, Any]:
    """Return how the app's workers declare a queue on RabbitMQ."""
    from kombu.transport.base import to_rabbitmq_queue_arguments

    queue = app.amqp.queues[name]
    options = ("expires", "message_ttl", "max_length", "max_length_bytes", "max_priority")
    given = {option: getattr(queue, option) for option in options}
    arguments = to_rabbitmq_queue_arguments(queue.queue_arguments or {}, **given)
    return {"durable": bool(queue.durable), "auto_delete": bool(queue.auto_delete), "arguments": arguments}


def _retries(task: Any) -> dict[str, Any]:
    """Return how often and with which waits a task is retried; of a wait that its body gives nobody knows."""
    from celery import Task

    backoff = int(getattr(task, "retry_backoff", 0) or 0) if getattr(task, "autoretry_for", ()) else 0
    return {
        "most": task.max_retries,
        "first_s": float(backoff or task.default_retry_delay),
        "longest_s": float(getattr(task, "retry_backoff_max", 600)) if backoff else float(task.default_retry_delay),
        "doubles": bool(backoff),
        "sum_s": getattr(task, "retry_horizon_s", None),
        # Such a class has waits of its own.
        "own": next((kind.__name__ for kind in type(task).__mro__ if "retry" in vars(kind) and kind is not Task), ""),
    }


def _broker(app: Any) -> dict[str, Any] | None:
    """Return where the app reads messages; None if that is one of several servers."""
    connection = app.connection_for_read()
    if len(connection.alt or ()) > 1:
        return None
    given = connection.info()
    shown = {name: given[name] for name in ("transport", "port", "virtual_host")}
    return {**shown, "host": given["hostname"] or "localhost"}


def _sent(app: Any, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return queue and priority of a message of each task, as it is about to be published."""
    import kombu
    from celery.signals import before_task_publish

    found: dict[str, dict[str, Any]] = {}

    def note(sender: str, routing_key: str, properties: Mapping[str, Any], **_: Any) -> None:
        found[sender] = {"queue": routing_key, "priority": properties.get("priority")}

    before_task_publish.connect(note, weak=False)
    with kombu.Connection("memory://") as connection, connection.Producer() as producer:
        for name in names:
            options = app.tasks[name]._get_exec_options()
            app.send_task(name, producer=producer, **{**options, "ignore_result": True, "retry": False})
    return found
