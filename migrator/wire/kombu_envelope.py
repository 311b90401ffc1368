"""The envelope in which kombu keeps a Celery message in a queue, and the body in it.

Nothing here loads a pickle; a body that does not declare itself as JSON is refused.

Source: kombu/transport/virtual/base.py, kombu/compression.py; celery/app/amqp.py (as_task_v1, as_task_v2).
"""

from __future__ import annotations

import bz2
import hashlib
import lzma
import zlib
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from typing import Any

import msgspec
from msgspec import Raw

from migrator.wire.json_codec import READING_ERRORS, UnreadableError, dumps, loads, ms_from_iso

_MAX_BODY_BYTES = 256 << 20
_V1_FIELDS = {"task": str, "id": str}


class Envelope(msgspec.Struct, rename={"content_type": "content-type", "content_encoding": "content-encoding"}):
    """What kombu keeps in a queue; headers and properties as the bytes they were."""

    body: str
    headers: dict[str, Raw]
    properties: dict[str, Raw]
    content_type: str | None = None
    content_encoding: str | None = None


_decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_parts = msgspec.json.Decoder(tuple[list[Raw], dict[str, Raw], Raw]).decode
_decode_any = msgspec.json.Decoder().decode


class ForeignBodyError(Exception):
    """The body is in a format that is not supported."""


def read_envelope(raw: bytes, text: str) -> Envelope:
    """Read what kombu put into a queue.

    Raises:
        UnreadableError: It is not an envelope.
    """
    try:
        return _decode_envelope(raw)
    except (msgspec.MsgspecError, RecursionError) as refusal:
        document = loads(text)
        try:
            return Envelope(
                body=expect(document["body"], str),
                headers={key: Raw(dumps(value)) for key, value in document["headers"].items()},
                properties={key: Raw(dumps(value)) for key, value in document["properties"].items()},
                content_type=document.get("content-type"),
                content_encoding=document.get("content-encoding"),
            )
        except (KeyError, TypeError, AttributeError):
            raise UnreadableError(f"not a kombu envelope: {str(refusal)[:120]}") from None


def body_bytes(envelope: Envelope) -> bytes:
    """Return the body of an envelope, decompressed.

    Raises:
        UnreadableError: It can't be decoded or decompressed.
    """
    encoding = optional_text(envelope.properties, "body_encoding")
    if encoding == "base64":
        try:
            body = a2b_base64(envelope.body, strict_mode=True)
        except (Base64Error, ValueError) as error:
            raise UnreadableError(f"the body is not base64: {error}") from None
    else:
        body = envelope.body.encode()
    compression = optional_text(envelope.headers, "compression")
    return _decompressed(body, compression) if compression else body


def require_json(envelope: Envelope) -> None:
    """Refuse bodies that do not declare themselves as JSON."""
    if envelope.content_type not in ("application/json", None):
        raise ForeignBodyError(f"the body is {envelope.content_type}")
    if (envelope.content_encoding or "utf-8").lower() not in ("utf-8", "utf8", "us-ascii"):
        raise ForeignBodyError(f"the body is encoded as {envelope.content_encoding}")


def copy_id_of(envelope: Envelope, raw: bytes) -> str:
    """Return the id of this copy: its ``delivery_tag``, or a digest where there is none."""
    return optional_text(envelope.properties, "delivery_tag") or f"sha256:{hashlib.sha256(raw).hexdigest()}"


def body_parts(body: bytes) -> tuple[list[Raw], dict[str, Raw], Raw]:
    """Return arguments, keyword arguments and embed of a protocol 2 body, each value as the bytes it was.

    Raises:
        UnreadableError: It is not such a body.
    """
    try:
        return _decode_parts(body)
    except (msgspec.MsgspecError, RecursionError):
        parts = loads(body)
    if not isinstance(parts, list) or len(parts) != 3:
        raise UnreadableError("the body is not [args, kwargs, embed]")
    args = [Raw(dumps(value)) for value in expect(parts[0], list)]
    kwargs = {key: Raw(dumps(value)) for key, value in expect(parts[1], dict).items()}
    return args, kwargs, Raw(dumps(expect(parts[2], dict)))


def as_protocol_2(envelope: Envelope) -> Envelope:
    """Return a protocol 1 message, whose body holds everything, as protocol 2."""
    require_json(envelope)
    body = loads(body_bytes(envelope))
    if not isinstance(body, dict) or not all(isinstance(body.get(key), kind) for key, kind in _V1_FIELDS.items()):
        raise UnreadableError("neither a protocol 2 nor a protocol 1 message: no task name")
    if body.get("utc") is False and (body.get("eta") or body.get("expires")):
        raise UnreadableError("its times are of a zone that the message does not name")
    embed = {key: body.get(key) for key in ("callbacks", "errbacks")} | {"chain": None, "chord": body.get("chord")}
    headers = {
        "lang": "py",
        "task": body["task"],
        "id": body["id"],
        "root_id": body["id"],
        "parent_id": None,
        "eta": body.get("eta"),
        "expires": body.get("expires"),
        "group": body.get("taskset"),
        "retries": body.get("retries") or 0,
        "timelimit": body.get("timelimit") or [None, None],
    }
    args, kwargs = expect(body.get("args") or [], list), expect(body.get("kwargs") or {}, dict)
    properties = {**envelope.properties, "body_encoding": Raw(b'"base64"'), "correlation_id": Raw(dumps(body["id"]))}
    return Envelope(
        body=b2a_base64(dumps([args, kwargs, embed]), newline=False).decode(),
        headers={**_of_others(envelope), **{key: Raw(dumps(value)) for key, value in headers.items()}},
        properties=properties,
        content_type="application/json",
        content_encoding="utf-8",
    )


def _of_others(envelope: Envelope) -> dict[str, Raw]:
    """Return the headers that the body of a protocol 1 message doesn't have, such as those of the project itself."""
    return {name: value for name, value in envelope.headers.items() if name not in ("compression", "task")}


def _decompressed(body: bytes, compression: str) -> bytes:
    try:
        if compression in ("application/x-gzip", "gzip", "zlib"):
            opener = zlib.decompressobj()
            data = opener.decompress(body, _MAX_BODY_BYTES)
            finished = opener.eof
        elif compression in ("application/x-bz2", "bzip2", "bzip"):
            packed = bz2.BZ2Decompressor()
            data, finished = packed.decompress(body, _MAX_BODY_BYTES), packed.eof
        elif compression in ("application/x-lzma", "lzma", "application/xz", "xz"):
            lzma_packed = lzma.LZMADecompressor()
            data, finished = lzma_packed.decompress(body, _MAX_BODY_BYTES), lzma_packed.eof
        else:
            raise ForeignBodyError(f"the body is compressed as {compression}")
    except (zlib.error, OSError, EOFError, lzma.LZMAError) as error:
        raise UnreadableError(f"the body can't be decompressed: {error}") from None
    if not finished:
        raise UnreadableError("the compressed body is cut off or far too large")
    return data


def expect(value: Any, kind: type) -> Any:
    """Return ``value`` if it is of that type, else refuse the message."""
    if not isinstance(value, kind):
        raise UnreadableError(f"found {type(value).__name__} where {kind.__name__} is expected")
    return value


def text_header(parts: dict[str, Raw], name: str) -> str:
    """Return a required header."""
    value = _decode_any(bytes(parts.get(name, Raw(b"null"))))
    if not isinstance(value, str):
        raise UnreadableError(f"headers.{name} is not text")
    return value


def optional_text(parts: dict[str, Raw], name: str) -> str:
    """Return a header or property if it is text, else an empty string."""
    raw = parts.get(name)
    value = None if raw is None else _decode_any(bytes(raw))
    return value if isinstance(value, str) else ""


def time_ms(headers: dict[str, Raw], name: str) -> int | None:
    """Return a header that is a time, as milliseconds since the epoch."""
    text = optional_text(headers, name)
    return ms_from_iso(text) if text else None


def priority_of(envelope: Envelope) -> int:
    """Return the number on the wire; 0 without one."""
    number = _decode_any(bytes(envelope.properties.get("priority", Raw(b"0"))))
    return number if type(number) is int else 0


def name_and_id(raw: bytes) -> tuple[str, str]:
    """Return task name and id of a message that can't be translated, as far as they can be read."""
    try:
        envelope = _decode_envelope(raw)
        named = envelope.headers
        if "task" not in named:  # protocol 1
            named = {key: Raw(dumps(value)) for key, value in expect(loads(body_bytes(envelope)), dict).items()}
        return optional_text(named, "task"), optional_text(named, "id")
    except (ForeignBodyError, *READING_ERRORS):
        return "", ""
