"""Bytes of queued messages: the parts that more than one translation reads or writes.

Shape of the header ``x-tqm`` on a moved Celery message: ``{"v": 1, "system", "queue", "id", "tag", "raw"}``:
the wire queue and copy id of the original, the ``delivery_tag`` of the copy that we wrote, and the whole original as
text. A copy that still has our tag was never changed, so a transfer back returns the original byte for byte; Celery
publishes a retry under a new tag and keeps the header.

Source: dramatiq/message.py, dramatiq/encoder.py; celery/app/amqp.py (as_task_v2); kombu/transport/virtual/base.py,
kombu/transport/redis.py (envelope); observed on a real server.
"""

from __future__ import annotations

import itertools
import json
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

#: Name of our header on Celery messages.
HEADER = "x-tqm"
#: What ends the body of a Celery message without callbacks, chain and chord.
EMPTY_EMBED = b'{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]'
EMPTY_EMBED_SPACED = b'{"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
#: Deeper nesting would break a worker's own decoder; such a message is quarantined.
MAX_DEPTH = 100
#: Python refuses to read longer integers (sys.int_info.default_max_str_digits).
_LONG_INTEGER = re.compile(rb"[0-9]{4301}")
_TEXT_IN_JSON = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)

encode_json = msgspec.json.Encoder().encode
_dump = json.JSONEncoder(separators=(",", ":")).encode


class UnreadableError(Exception):
    """The bytes are not a message that a worker could read; the text says why."""


#: What reading a malformed message may raise: such a message is quarantined, and never stops a transfer.
READING_ERRORS = (
    UnreadableError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    msgspec.MsgspecError,
)


def text_of(raw: bytes) -> str:
    """Return the message as text.

    Raises:
        UnreadableError: It is not UTF-8, or nested too deeply, or holds an integer that Python refuses.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        start = "pickle" if raw[:1] == b"\x80" else "not UTF-8"
        raise UnreadableError(f"{start}: byte {raw[error.start]:#04x} at {error.start}") from None
    # Each level takes two brackets, so a short text can't be deep; this check runs for every message.
    if len(raw) > 2 * MAX_DEPTH:
        if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and depth(text) > MAX_DEPTH:
            raise UnreadableError(f"nested deeper than {MAX_DEPTH} levels")
        if len(raw) > 4300 and _LONG_INTEGER.search(raw) and _LONG_INTEGER.search(_TEXT_IN_JSON.sub(b"", raw)):
            raise UnreadableError("holds an integer of more than 4300 digits")
    return text


def depth(text: str) -> int:
    """Return how deeply the brackets of a JSON text are nested, strings left out."""
    deepest = level = 0
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', text, re.DOTALL):
        sign = token.group()[0]
        if sign in "[{":
            level += 1
            deepest = max(deepest, level)
        elif sign in "]}":
            level -= 1
    return deepest


def loads(raw: bytes | str) -> Any:
    """Read JSON as the workers do, NaN and lone surrogates included.

    Raises:
        UnreadableError: It is not JSON.
    """
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"not JSON: {str(error)[:120]}") from None


def dumps(value: Any) -> bytes:
    """Write JSON exactly as Dramatiq does: compact, ASCII."""
    return _dump(value).encode()


def mark(system: str, queue: str, *, copy_id: str, tag: str, text: str) -> bytes:
    """Return the value of our header :data:`HEADER` for a message whose original is ``text``."""
    # msgspec would copy the struct first, and this runs for every message.
    return b'{"v":1,"system":"%b","queue":%b,"id":%b,"tag":"%b","raw":%b}' % (
        system.encode(),
        encode_json(queue),
        encode_json(copy_id),
        tag.encode(),
        encode_json(text),
    )


def fixed_pieces(template: bytes) -> list[bytes]:
    """Return what is between the placeholders (``%b``, ``%d``) of a template: joining pieces is faster than ``%``."""
    return [piece.replace(b"%%", b"%") for piece in re.split(rb"(?<!%)%[bd]", template)]


def iso_from_ms(milliseconds: float) -> str:
    """Return milliseconds since the epoch as Celery writes times.

    Raises:
        UnreadableError: The year is out of range.
    """
    return quoted_iso(milliseconds)[1:-1].decode()


def quoted_iso(milliseconds: float) -> bytes:
    """Return the same as :func:`iso_from_ms`, as JSON."""
    whole, rest = divmod(int(milliseconds), 1000)
    return _iso_second(whole) + _MILLISECONDS[rest]


_MILLISECONDS = tuple(b'.%03d000+00:00"' % number for number in range(1000))


@lru_cache(maxsize=4096)
def _iso_second(second: int) -> bytes:
    try:
        return b'"' + datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0").encode()
    except (ValueError, OverflowError, OSError):
        raise UnreadableError(f"a time out of range ({second} s)") from None


def ms_from_iso(text: str) -> int:
    """Return a time that Celery wrote as milliseconds since the epoch; without a zone it is UTC.

    Raises:
        UnreadableError: It is not a time.
    """
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise UnreadableError(f"not a time: {str(text)[:40]!r}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def new_tags() -> Callable[[], str]:
    """Return a function that returns a new copy id at each call; no two runs give the same."""
    return map(f"{uuid.uuid4().hex}-%x".__mod__, itertools.count()).__next__
