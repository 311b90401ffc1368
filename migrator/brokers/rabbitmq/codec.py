"""AMQP messages in the form that the translation reads, and back to AMQP.

Dramatiq: the body is the message; its priority property repeats the option ``broker_priority``. Celery: the same
envelope that kombu writes into Redis, made from body, headers and properties, so that one translation serves both:
``{"body": base64, "content-encoding", "content-type", "headers": {}, "properties": {}}``. Our header ``x-tqm`` is one
string on AMQP (its numbers may be longer than AMQP's), compressed when it is long, and the id of our copy is the
property ``message_id``: Celery publishes a retry without it.

Values that JSON lacks are written as ``{"__amqp__": [type, text]}``. Left out: ``x-death`` and its relatives (the
history in another queue), and ``user_id`` (the server compares it with the publishing user).

Source: amqp/serialization.py, amqp/basic_message.py; kombu/transport/virtual/base.py; RabbitMQ: a message's properties
have to fit into one frame.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import amqp
import msgspec

from migrator.brokers.rabbitmq.prepared_message import PreparedMessage
from migrator.wire.json_codec import HEADER, UnreadableError, dumps, loads, text_of
from migrator.wire.kombu_envelope import Envelope, optional_text, read_envelope
from migrator.wire.message import System
from migrator.wire.queue_address import QueueAddress

_ELSEWHERE = ("content_type", "content_encoding", "application_headers", "user_id")
PROPERTIES = tuple(name for name, _ in amqp.Message.PROPERTIES if name not in _ELSEWHERE)
_PACK_FROM_BYTES = 8192
_PERSISTENT = 2
_HISTORY = ("x-death", "x-first-death-", "x-last-death-")


class _Priority(msgspec.Struct):
    broker_priority: Any = None


class _Options(msgspec.Struct):
    options: _Priority


def raw_of(address: QueueAddress, message: Any) -> bytes:
    """Return the bytes that the translation reads. Total: every delivery gives some bytes."""
    body = body_of(message)
    if address.system is System.DRAMATIQ:
        return body
    properties = message.properties
    given = {name: plain(properties[name]) for name in PROPERTIES if properties.get(name) is not None}
    given |= {
        "delivery_tag": given.get("message_id", ""),
        "body_encoding": "base64",
        "delivery_info": {"exchange": "", "routing_key": address.queue},
    }
    headers = own_headers(message)
    mark = headers.pop(HEADER, None)
    document: dict[str, Any] = {"body": b64encode(body).decode()}
    document["content-encoding"] = plain(properties.get("content_encoding"))
    document["content-type"] = plain(properties.get("content_type"))
    document["headers"] = {_key(name): plain(value) for name, value in headers.items()}
    if mark is not None:
        document["headers"][HEADER] = _unpacked(mark)
    document["properties"] = given
    return dumps(document)


def message_for(address: QueueAddress, payload: bytes) -> Any:
    """Return a message for its destination.

    Raises:
        UnreadableError: AMQP can't hold it; the text says why.
    """
    if address.system is System.DRAMATIQ:
        message = amqp.Message(payload, delivery_mode=_PERSISTENT)
        priority = _broker_priority(payload)
        if priority is not None:
            message.properties["priority"] = priority
        return message
    envelope = read_envelope(payload, text_of(payload))
    mark = envelope.headers.pop(HEADER, None)
    given, headers = _opened(envelope.properties), _opened(envelope.headers)
    properties = {name: rich(given[name]) for name in PROPERTIES if given.get(name) is not None}
    if mark is not None:
        headers[HEADER] = _packed(bytes(mark))
        properties["message_id"] = given["delivery_tag"]
    message = PreparedMessage(
        _decoded(envelope),
        content_type=envelope.content_type,
        content_encoding=envelope.content_encoding,
        application_headers={name: rich(value) for name, value in headers.items()},
        **{"delivery_mode": _PERSISTENT, **properties},
    )
    message.check()
    return message


def body_of(message: Any) -> bytes:
    """Return the body of a delivery, whatever type py-amqp gave it."""
    body = message.body
    return body.encode("utf-8", "surrogatepass") if isinstance(body, str) else bytes(body)


def own_headers(message: Any) -> dict[str, Any]:
    """Return a delivery's headers without our staging headers and without the history of other queues."""
    return {
        name: value
        for name, value in (message.headers or {}).items()
        if not str(name).startswith(("x-tqm-", *_HISTORY))
    }


def _decoded(envelope: Envelope) -> bytes:
    if optional_text(envelope.properties, "body_encoding") == "base64":
        try:
            return b64decode(envelope.body, validate=True)
        except (Base64Error, ValueError) as error:
            raise UnreadableError(f"the body is not base64: {error}") from None
    return envelope.body.encode("utf-8", "surrogatepass")


def _broker_priority(payload: bytes) -> int | None:
    try:
        number = msgspec.json.decode(payload, type=_Options).options.broker_priority
    except (msgspec.MsgspecError, RecursionError):
        return None
    return number if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= 255 else None


def _opened(parts: dict[str, msgspec.Raw]) -> dict[str, Any]:
    """Return headers or properties, all decoded at once."""
    return dict(zip(parts, loads(b"[" + b",".join(map(bytes, parts.values())) + b"]"), strict=True))


def _packed(mark: bytes) -> str:
    """Return our header as text, compressed when it is long."""
    return mark.decode() if len(mark) < _PACK_FROM_BYTES else "z" + b64encode(zlib.compress(mark, 3)).decode()


def _unpacked(mark: Any) -> Any:
    """Return our header as the translation reads it; anything malformed is passed on and rejected there."""
    try:
        if mark.startswith("z"):
            mark = zlib.decompress(b64decode(mark[1:])).decode()
        return loads(mark)
    except (UnreadableError, AttributeError, TypeError, ValueError, zlib.error):
        return plain(mark)


def _key(name: Any) -> str:
    return name.decode(errors="backslashreplace") if isinstance(name, bytes) else str(name)


def plain(value: Any) -> Any:
    """Return a header's value in JSON's types."""
    if isinstance(value, dict):
        return {_key(name): plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"__amqp__": ["bytes", b64encode(bytes(value)).decode()]}
    if isinstance(value, datetime):
        # py-amqp returns naive datetimes in UTC.
        return {"__amqp__": ["time", str(int(value.replace(tzinfo=UTC).timestamp()))]}
    if isinstance(value, Decimal):
        return {"__amqp__": ["decimal", str(value)]}
    return value


def rich(value: Any) -> Any:
    """Return what :func:`plain` was given."""
    if isinstance(value, list):
        return [rich(item) for item in value]
    if not isinstance(value, dict):
        return value
    match value.get("__amqp__"):
        case ["bytes", str(text)] if len(value) == 1:
            return b64decode(text)
        case ["time", str(text)] if len(value) == 1:
            return datetime.fromtimestamp(int(text), UTC)
        case ["decimal", str(text)] if len(value) == 1:
            return Decimal(text)
    return {name: rich(item) for name, item in value.items()}
