"""Unified messages as messages of the legacy Celery app, where the original bytes are not enough."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Raw

from migrator.plan.arguments import adapt, restore
from migrator.plan.model import Plan, TaskMapping
from migrator.translation.canvas_to_unified import renamed_embed, to_unified
from migrator.translation.result import Translated, Translation
from migrator.wire.json_codec import EMPTY_EMBED, EMPTY_EMBED_SPACED, HEADER, dumps, encode_json, loads
from migrator.wire.kombu_envelope import (
    Envelope,
    body_bytes,
    body_parts,
    copy_id_of,
    expect,
    priority_of,
    require_json,
    text_header,
    time_ms,
)
from migrator.wire.quarantined import Quarantined, QuarantineReason
from migrator.wire.queue_address import QueueAddress

Parts = tuple[Sequence[Any], Mapping[str, Any], Mapping[str, Any]]
_EMPTY = (EMPTY_EMBED, EMPTY_EMBED_SPACED)


def native_celery(
    mapping: TaskMapping, address: QueueAddress, envelope: Envelope, parts: Parts | None, tag: str
) -> Translation:
    """Return a native unified message under its legacy name.

    Args:
        mapping: The unified task's primary mapping.
        address: The legacy queue.
        envelope: The message; it is modified.
        parts: The legacy body: arguments, keyword arguments, and canvas if there is any; None if it stays as it is.
        tag: Id of the new copy.
    """
    if parts is not None:
        args, kwargs, embed = parts
        tail = dumps(embed) + b"]" if embed else EMPTY_EMBED
        _replace_body(envelope, b"[%b,%b,%b" % (dumps(list(args)), dumps(kwargs), tail))
    return _addressed(mapping, address, envelope, tag, priority=priority_of(envelope))


def changed_celery(
    plan: Plan, mapping: TaskMapping, address: QueueAddress, *, original: Envelope, envelope: Envelope, tag: str
) -> Translation:
    """Return a message that was moved forward and then retried, with what has changed since."""
    require_json(envelope)
    body, before = body_bytes(envelope), body_bytes(original)
    if mapping.operations or not body.endswith(_EMPTY):
        args, kwargs, embed = (loads(bytes(part)) for part in _encoded(body))
        old_args, old_kwargs, old_embed = (loads(bytes(part)) for part in _encoded(before))
        renamed = renamed_embed(to_unified(plan, {}), expect(old_embed, dict))
        if _without_numbers(renamed) != _without_numbers(embed):
            detail = "its callbacks or chain were changed since"
            return Quarantined(QuarantineReason.CANVAS, detail, mapping.unified, text_header(envelope.headers, "id"))
        adapted = adapt(mapping, old_args, old_kwargs)
        if [list(adapted[0]), adapted[1]] == [args, kwargs]:
            args, kwargs = old_args, old_kwargs
        else:
            task = plan.task(mapping.unified)
            args, kwargs = restore(mapping, task.parameters if task else (), args, kwargs)
        _replace_body(envelope, dumps([list(args), kwargs, old_embed]))
    return _addressed(mapping, address, envelope, tag, priority=priority_of(original))


def _without_numbers(value: Any) -> Any:
    """Return a canvas without priorities: their numbers depend on the broker."""
    if isinstance(value, dict):
        return {name: _without_numbers(item) for name, item in value.items() if name != "priority"}
    return [_without_numbers(item) for item in value] if isinstance(value, list) else value


def _encoded(body: bytes) -> tuple[bytes, bytes, bytes]:
    args, kwargs, embed = body_parts(body)
    return encode_json(args), encode_json(kwargs), bytes(embed)


def _replace_body(envelope: Envelope, body: bytes) -> None:
    envelope.body = b2a_base64(body, newline=False).decode()
    envelope.properties["body_encoding"] = Raw(b'"base64"')
    envelope.headers.pop("compression", None)


def _addressed(
    mapping: TaskMapping, address: QueueAddress, envelope: Envelope, tag: str, *, priority: int
) -> Translated:
    source_copy = copy_id_of(envelope, envelope.body.encode())
    envelope.headers.pop(HEADER, None)
    envelope.headers["task"] = Raw(encode_json(mapping.name))
    envelope.properties["delivery_tag"] = Raw(encode_json(tag))
    envelope.properties["delivery_info"] = Raw(encode_json({"exchange": "", "routing_key": address.queue}))
    envelope.properties["priority"] = Raw(b"%d" % priority)
    return Translated(
        encode_json(envelope),
        address,
        text_header(envelope.headers, "id"),
        mapping.unified,
        source_copy,
        tag,
        priority,
        eta_ms=time_ms(envelope.headers, "eta"),
    )
