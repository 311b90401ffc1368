"""The envelope of an ordinary Celery message, read the fast way: protocol 2, JSON, base64, nothing unknown.

Whatever is not exactly that gives None here and goes the slow way (:mod:`migrator.envelope`), which reads everything.

Source: celery/app/amqp.py (as_task_v2), kombu/transport/virtual/base.py.
"""

from __future__ import annotations

from binascii import a2b_base64

import msgspec
from msgspec import Raw

from migrator.wire import EMPTY_EMBED, EMPTY_EMBED_SPACED

_NULL = Raw(b"null")


class PlainHeaders(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The headers that Celery writes on every message."""

    lang: Raw
    task: str
    id: str
    shadow: Raw
    eta: str | None
    expires: str | None
    group: Raw
    group_index: Raw
    retries: Raw
    timelimit: Raw
    root_id: Raw
    parent_id: Raw
    argsrepr: Raw
    kwargsrepr: Raw
    origin: Raw
    ignore_result: Raw
    replaced_task_nesting: Raw
    stamped_headers: Raw
    stamps: Raw
    mark: Raw = msgspec.field(name="x-tqm", default=_NULL)


class PlainProperties(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The properties that kombu writes on every message."""

    correlation_id: Raw
    reply_to: Raw
    delivery_mode: Raw
    delivery_info: Raw
    body_encoding: str
    delivery_tag: str
    priority: Raw = _NULL


class PlainEnvelope(
    msgspec.Struct,
    forbid_unknown_fields=True,
    gc=False,
    rename={"content_type": "content-type", "content_encoding": "content-encoding"},
):
    """An ordinary message."""

    body: str
    content_encoding: str
    content_type: str
    headers: PlainHeaders
    properties: PlainProperties


_decode = msgspec.json.Decoder(PlainEnvelope).decode


def read_plain(raw: bytes) -> tuple[PlainEnvelope, bytes] | None:
    """Return envelope and body of an ordinary message on which nothing hangs; None for any other."""
    try:
        envelope = _decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return None
    if envelope.properties.body_encoding != "base64" or envelope.content_type != "application/json":
        return None
    if envelope.content_encoding != "utf-8":
        return None
    try:
        body = a2b_base64(envelope.body, strict_mode=True)
    except ValueError:
        return None
    return (envelope, body) if body.endswith((EMPTY_EMBED, EMPTY_EMBED_SPACED)) else None
