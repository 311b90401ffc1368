"""A consumer that stores what it can't run as dead letters.

Celery deletes a message of an unknown task, one that it can't decode and one that is no task at all, with a line in
the log. Here such a message first becomes a dead letter with all its bytes.
Source: celery/worker/consumer/consumer.py (`on_unknown_task` and its neighbours reject without requeueing).
"""

from __future__ import annotations

import base64
import json
import logging
import uuid
from typing import Any

from celery.worker.consumer import Consumer
from kombu.transport import virtual

from . import legacy_aliases
from .dead_letter import Delivery, Kept, close_idle_connections, copy_id, send_to_dead_letter

logger = logging.getLogger(__name__)

#: What a message whose parts have the wrong shape raises inside Celery; uncaught, it would stop the consumer again
#: and again.
_WRONG_SHAPE = (KeyError, ValueError, TypeError, AttributeError)


class ForgivingMessage(virtual.Message):
    """A message; any other element of the queue's list becomes a message that can't be read.

    Kombu treats the KeyError of a foreign element as a lost connection, and the element is lost.
    Source: kombu/transport/virtual/base.py (`Message.__init__`, `Channel.basic_consume`).
    """

    def __init__(self, payload: Any, channel: Any = None, **options: Any) -> None:
        try:
            super().__init__(payload, channel=channel, **options)
        except (KeyError, TypeError, AttributeError, ValueError):
            super().__init__(_foreign(payload), channel=channel, **options)


class DeadLetterConsumer(Consumer):
    """Writes a dead letter before a message is discarded."""

    _handle: Any = None

    def connect(self) -> Any:
        """Connect with a message class that accepts foreign elements."""
        connection = super().connect()
        channel = connection.default_channel
        if getattr(channel, "Message", None) is virtual.Message:  # brokers that kombu imitates; not RabbitMQ
            channel.Message = ForgivingMessage
        return connection

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Run a task that has a legacy alias under its unified name; store any other unknown one as a dead letter."""
        if "id" not in message.headers:  # Celery's own handler would fail on it
            return self.on_invalid_task(body, message, exc)
        if legacy_aliases.take(message):
            self._handle(message)
        elif self._keep(message, f"unknown task {exc}: no task of this name is registered"):
            super().on_unknown_task(body, message, exc)
        return None

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Store a dead letter for a message that is not a task message."""
        if self._keep(message, "not a task message: it has no task name"):
            super().on_unknown_message(body, message)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Store a dead letter for a task message that breaks the protocol."""
        if self._keep(message, f"invalid task message: {type(exc).__name__}: {exc}"):
            super().on_invalid_task(body, message, exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Store a dead letter for a message whose body can't be read."""
        if self._keep(message, f"unreadable body: {type(exc).__name__}: {exc}"):
            super().on_decode_error(message, exc)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Any:
        """Wrap the handler: a message of the wrong shape becomes a dead letter too, and does not stop the consumer."""
        handle = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Any) -> Any:
            try:
                name = legacy_aliases.mapped_task(message)
                if name and name not in self.app.tasks and not legacy_aliases.take_mapped(message, name):
                    return self.on_unknown_task(None, message, KeyError(name))
                return handle(message)
            except _WRONG_SHAPE as error:
                if message.acknowledged:
                    raise
                return self.on_invalid_task(None, message, error)

        self._handle = on_task_received
        return on_task_received

    def _keep(self, message: Any, reason: str) -> bool:
        """Store a dead letter; return whether the message may be discarded now."""
        headers = message.headers if isinstance(message.headers, dict) else {}
        kept = send_to_dead_letter(
            headers.get("task") or "(no task name)", *_call(message), reason, delivery=_delivery(message, headers)
        )
        close_idle_connections()
        if kept is not Kept.LOG:
            return True
        # Unacknowledged, it stays with the broker, which delivers it again. One more may be prefetched in its place.
        logger.critical("dead_letter=left_with_broker reason=%s", reason)
        self.qos.increment_eventually()
        return False


def _foreign(element: Any) -> dict[str, Any]:
    return {
        "body": base64.b64encode(json.dumps(element).encode()).decode(),
        "content-type": "application/x-foreign",
        "content-encoding": "binary",
        "headers": {},
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
            "delivery_info": {"exchange": "", "routing_key": ""},
        },
    }


def _call(message: Any) -> tuple[Any, Any]:
    """Return the arguments as far as they can be read."""
    try:
        args, kwargs, _ = message.decode()
    except Exception:  # noqa: BLE001  # an unreadable body is one of the reasons to be here; the raw message is stored
        return [], {}
    return args, kwargs


def _delivery(message: Any, headers: dict[str, Any]) -> Delivery:
    info = message.delivery_info or {}
    body = message.body if message.body is not None else b""
    retries = headers.get("retries")
    priority = message.properties.get("priority")
    return Delivery(
        copy_id=copy_id(message.properties, headers),
        task_id=str(headers.get("id") or message.properties.get("correlation_id") or ""),
        queue=str(info.get("routing_key") or ""),
        priority=priority if isinstance(priority, int) else None,
        attempts=retries + 1 if isinstance(retries, int) and retries >= 0 else None,
        raw={
            "body": base64.b64encode(body.encode() if isinstance(body, str) else bytes(body)).decode(),
            "content_type": message.content_type,
            "content_encoding": message.content_encoding,
            "headers": message.headers,
            "properties": message.properties,
            "delivery_info": {name: info.get(name) for name in ("exchange", "routing_key", "redelivered")},
        },
    )
