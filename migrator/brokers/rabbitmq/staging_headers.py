"""Messages in our own queues on RabbitMQ: complete, with what we know about them in headers.

A copy there never expires: the original's time to live is kept in a header with its delivery mode, and starts again
when the message is put back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import amqp

from migrator.brokers.rabbitmq.codec import body_of, own_headers
from migrator.wire.quarantined import Quarantined

ID = "x-tqm-id"
#: Destination queue of an arriving message.
TO = "x-tqm-to"
REASON, DETAIL, TASK, MESSAGE = "x-tqm-reason", "x-tqm-detail", "x-tqm-task", "x-tqm-message"
#: Properties of the original that a copy of ours must not have.
_GIVEN = "x-tqm-given"
_WITHHELD = ("expiration", "delivery_mode")
_PERSISTENT = 2
_MOST_TEXT = 500


def private_copy(message: Any, headers: Mapping[str, str]) -> Any:
    """Return a delivery, or a message for its destination, with these headers for one of our queues."""
    given = {name: message.properties[name] for name in _WITHHELD if message.properties.get(name) is not None}
    ours = {name: value.encode(errors="backslashreplace").decode() for name, value in headers.items()}
    properties = {
        name: value
        for name, value in message.properties.items()
        if name not in (*_WITHHELD, "user_id", "application_headers")
    }
    table = {**own_headers(message), **ours, _GIVEN: given}
    return amqp.Message(body_of(message), delivery_mode=_PERSISTENT, application_headers=table, **properties)


def public_copy(message: Any) -> Any:
    """Return the message as it was before :func:`private_copy`; any other message as it is."""
    headers = message.headers or {}
    given = headers.get(_GIVEN)
    properties = {name: value for name, value in message.properties.items() if name != "application_headers"}
    if isinstance(given, dict):
        properties.pop("delivery_mode", None)
        properties.update(given)
    own = own_headers(message)
    if own:
        properties["application_headers"] = own
    return amqp.Message(body_of(message), **properties)


def quarantined_copy(message: Any, copy_id: str, quarantined: Quarantined) -> Any:
    """Return a message for the queue of quarantined messages."""
    texts = {
        REASON: quarantined.reason.value,
        DETAIL: quarantined.detail,
        TASK: quarantined.task,
        MESSAGE: quarantined.id,
    }
    return private_copy(message, {ID: copy_id, **{name: text[:_MOST_TEXT] for name, text in texts.items()}})


def own_header(message: Any, name: str) -> str:
    """Return one of our headers; empty if it is missing."""
    value = (message.headers or {}).get(name)
    return value if isinstance(value, str) else ""
