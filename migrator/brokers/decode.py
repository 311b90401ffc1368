"""Queued bytes as a :class:`~migrator.wire.message.Message`, for people and reports. Lenient: any bytes give a message.

An unreadable message has an empty task name and keeps its bytes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from msgspec import Raw, convert

from migrator.wire.json_codec import UnreadableError, loads, text_of
from migrator.wire.kombu_envelope import (
    Envelope,
    ForeignBodyError,
    as_protocol_2,
    body_bytes,
    copy_id_of,
    optional_text,
    read_envelope,
    require_json,
    text_header,
    time_ms,
)
from migrator.wire.message import Message, State, System
from migrator.wire.queue_address import QueueAddress

_LINK_OPTIONS = {
    "pipe_target": "pipe",
    "group_completion_uuid": "group",
    "on_success": "callback",
    "on_failure": "callback",
    "on_retry_exhausted": "callback",
}
_LINK_PARTS = {"chain": "pipe", "chord": "chord", "callbacks": "callback", "errbacks": "callback"}
_PROBLEMS = (UnreadableError, ForeignBodyError, ValueError, TypeError, KeyError, AttributeError, OverflowError, OSError)


def read_message(address: QueueAddress, copy_id: str, raw: bytes, state: State) -> Message:
    """Return what can be read of one queued message."""
    try:
        if address.system is System.DRAMATIQ:
            return _dramatiq(address, copy_id, raw, state)
        return _celery(address, raw, state)
    except _PROBLEMS:
        state = State.DELAYED if state is State.READY and address.delayed else state
        return Message(
            id="", copy_id=copy_id, system=address.system, task="", queue=address.queue, state=state, raw=raw
        )


def _dramatiq(address: QueueAddress, copy_id: str, raw: bytes, state: State) -> Message:
    document = loads(text_of(raw))
    options = document["options"]
    return Message(
        id=convert(document["message_id"], str),
        copy_id=copy_id,
        system=address.system,
        task=convert(document["actor_name"], str),
        args=tuple(document["args"]),
        kwargs=dict(document["kwargs"]),
        queue=address.queue,
        state=State.DELAYED if state is State.READY and address.delayed else state,
        eta_at=_moment(options.get("eta")),
        enqueued_at=_moment(document["message_timestamp"]),
        expires_at=_moment(document["message_timestamp"] + options["max_age"] if options.get("max_age") else None),
        attempts=options.get("retries") or 0,
        priority=options.get("broker_priority"),
        links=tuple(dict.fromkeys(link for option, link in _LINK_OPTIONS.items() if options.get(option))),
        raw=raw,
    )


def _celery(address: QueueAddress, raw: bytes, state: State) -> Message:
    envelope = read_envelope(raw, text_of(raw))
    if "task" not in envelope.headers:
        envelope = as_protocol_2(envelope)
    args, kwargs, embed = _parts(envelope)
    headers = envelope.headers
    eta_ms = time_ms(headers, "eta")
    links = [link for part, link in _LINK_PARTS.items() if embed.get(part)]
    return Message(
        id=text_header(headers, "id"),
        copy_id=copy_id_of(envelope, raw),
        system=address.system,
        task=text_header(headers, "task"),
        args=tuple(args),
        kwargs=dict(kwargs),
        queue=address.queue,
        state=State.DELAYED if state is State.READY and eta_ms is not None else state,
        eta_at=_moment(eta_ms),
        expires_at=_moment(time_ms(headers, "expires")),
        attempts=loads(bytes(headers.get("retries", Raw(b"0")))) or 0,
        priority=loads(bytes(envelope.properties.get("priority", Raw(b"null")))),
        links=tuple(dict.fromkeys(links + (["group"] if optional_text(headers, "group") else []))),
        raw=raw,
    )


def _parts(envelope: Envelope) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    try:
        require_json(envelope)
        args, kwargs, embed = loads(body_bytes(envelope))
        return list(args), dict(kwargs), dict(embed)
    except (*_PROBLEMS,):
        return [], {}, {}


def _moment(milliseconds: float | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
