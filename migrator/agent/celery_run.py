"""Run a task as a worker does: published, fetched from the broker, traced with its request, acknowledged.

Nothing of Celery is replaced: the message goes through kombu's encoder to the broker and comes back as the worker's
own ``Request``, whose ``execute`` traces it in this process. Retries are published by the task itself.
Source: ``celery/worker/request.py`` (Request.execute), ``celery/app/amqp.py`` (before_task_publish).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import cache
from typing import Any

from celery import signals
from celery.utils.imports import symbol_by_name

from .recorder import RECORDER

#: Headers of every message (protocol 2, ``celery/app/amqp.py``).
_STANDARD_HEADERS = frozenset(
    {"lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id"}
    | {"parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting", "stamped_headers"}
    | {"stamps", "delivery_info", "properties", "utc"}
)


class TaskListener:
    """Record how one message ends and what else is published."""

    def __init__(self) -> None:
        self.current = ""
        self.ended: dict[str, Any] = {}
        signals.before_task_publish.connect(self._published, weak=False)
        signals.task_success.connect(self._succeeded, weak=False)
        signals.task_failure.connect(self._failed, weak=False)
        signals.task_retry.connect(self._retried, weak=False)

    def begin(self, task_id: str) -> None:
        """Drop what was recorded, and record one message."""
        self.current, self.ended = task_id, {"outcome": "rejected"}
        if "dramatiq" in sys.modules:
            # What tasks send to actors that stay.
            importlib.import_module(".dramatiq_run", __package__).record_sent()
        RECORDER.start()

    def _published(self, sender: str, body: Any, headers: Mapping[str, Any], **options: Any) -> None:
        if not RECORDER.active:
            return
        if headers.get("id") == self.current:
            self.ended["retry"] = _call(body, headers)
            return
        note_sent(sender, body, headers, **options)

    def _succeeded(self, sender: Any, result: Any, **_: Any) -> None:
        if sender.request.id == self.current:
            self.ended |= {"outcome": "value", "value": result}

    def _failed(self, sender: Any, task_id: str, exception: BaseException, **_: Any) -> None:
        if task_id == self.current:
            self.ended |= {"outcome": "exception", "exception": exception}

    def _retried(self, sender: Any, request: Any, reason: Any, **_: Any) -> None:
        if request.id == self.current:
            self.ended |= {"outcome": "retry", "exception": getattr(reason, "exc", None)}


def note_sent(sender: str, body: Any, headers: Mapping[str, Any], **options: Any) -> None:
    """Record one message of a task."""
    properties = options["properties"]
    entry = {"system": "celery", "task": sender, "queue": options["routing_key"], **_call(body, headers)}
    RECORDER.note("messages", entry | {"priority": properties.get("priority"), "retries": headers.get("retries")})


def record_sent() -> None:
    """Record what is sent to tasks by something that is none; repeatable."""
    signals.before_task_publish.connect(note_sent, weak=False, dispatch_uid=__name__)


def _call(body: Any, headers: Mapping[str, Any]) -> dict[str, Any]:
    return {"args": list(body[0]), "kwargs": dict(body[1]), **_options(headers)}


@cache
def _listener() -> TaskListener:
    """Return the listener of this process: signals are sent once, however many apps there are."""
    return TaskListener()


class InlineCeleryWorker:
    """One Celery application of the project and a connection to its broker."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.listener = _listener()
        app.finalize()
        self.connection = app.connection_for_read()

    def run(self, task: Any, call: Mapping[str, Any]) -> dict[str, Any]:
        """Send one message, process it, and return how it ended."""
        # As in a worker of this app (celery/app/trace.py, `setup_worker_optimizations`).
        self.app.set_current()
        RECORDER.active = False
        sent_to = send(task, call)
        with self.connection.channel() as channel:
            queue = self.app.amqp.queues[sent_to].bind(channel)
            message = queue.get(no_ack=False)
            if message is None:
                raise TimeoutError(f"the message was not delivered by queue {sent_to!r}")
            request = symbol_by_name(task.Request)(
                message,
                on_ack=lambda logger, errors: message.ack(),
                on_reject=lambda logger, errors, requeue: message.reject(requeue=requeue),
                app=self.app,
                hostname="parity@localhost",
                task=task,
            )
            self.listener.begin(call["id"])
            try:
                request.execute()
            finally:
                self.listener.current = ""
        return self.listener.ended


def send(target: Any, call: Mapping[str, Any]) -> str:
    """Send one message and return the queue that it went to."""
    sent_to = []

    def published(sender: str, headers: Mapping[str, Any], routing_key: str, **_: Any) -> None:
        if headers.get("id") == call["id"]:
            sent_to.append(routing_key)

    signals.after_task_publish.connect(published, weak=False)
    try:
        target.apply_async(
            args=list(call["args"]), kwargs=dict(call["kwargs"]), task_id=call["id"], retries=call["attempts"]
        )
    finally:
        signals.after_task_publish.disconnect(published)
    return sent_to[0]


def _options(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return when a message may run, when it expires, and headers that are not Celery's own."""
    own = {name: value for name, value in headers.items() if name not in _STANDARD_HEADERS and value is not None}
    return {"delay_s": _from_now(headers.get("eta")), "expires_s": _from_now(headers.get("expires")), "headers": own}


def _from_now(moment: Any) -> float | None:
    if not moment:
        return None
    found = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    found = found.replace(tzinfo=timezone.utc) if found.tzinfo is None else found
    return round((found - datetime.now(timezone.utc)).total_seconds(), 3)
