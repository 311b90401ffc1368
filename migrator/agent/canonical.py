"""Turn any value that a task returned, wrote or sent into plain JSON that is the same in two processes.

A moment that equals the case's clock is written as ``<clock>``, so that two runs with different clocks can be compared;
a value that is too large is replaced by its size and digest.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

#: Longest string that is kept whole.
STRING_LIMIT = 65_536
#: Most items of one list or mapping that are kept.
ITEM_LIMIT = 2_000
#: Items beyond that limit that still count for a list's digest.
DIGEST_LIMIT = 200_000
#: Deepest nesting that is followed.
DEPTH_LIMIT = 40
#: How near to the clock a moment must be to be written as ``<clock>``.
CLOCK_SLACK_S = 5.0

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:?\d\d)?")
_PARTS = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?)(?:\.(\d+))?(Z|[+-]\d\d:?\d\d)?")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@dataclass(frozen=True)
class Frame:
    """What is known about a run while its values are converted."""

    #: The frozen clock, seconds since the epoch.
    clock: float
    #: Text to replace in strings, such as the message's id; longest first.
    names: tuple[tuple[str, str], ...] = ()
    #: Moments that the case gives relative to the clock, by whole seconds since the epoch.
    moments: Mapping[int, str] = field(default_factory=dict)


def canonical(value: Any, frame: Frame, *, depth: int = 0) -> Any:
    """Return ``value`` as JSON-safe data; types that JSON lacks are tagged with ``$``."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and not isinstance(value, Enum):
        return _text(value, frame)
    if isinstance(value, (int, float)) and not isinstance(value, Enum):
        return _number(value, frame)
    if depth >= DEPTH_LIMIT:
        return {"$too_deep": type(value).__name__}
    if isinstance(value, Mapping):
        return _mapping(value, frame, depth)
    if isinstance(value, (list, tuple)):
        return _items(list(value), frame, depth)
    if isinstance(value, (set, frozenset)):
        parts = [canonical(item, frame, depth=depth + 1) for item in value]
        return {"$set": sorted(parts, key=sort_key)[:ITEM_LIMIT]}
    return _scalar(value, frame)


def sort_key(value: Any) -> bytes:
    """Return a sort key for canonical values of any kind."""
    return as_json(value)


def as_json(value: Any) -> bytes:
    """Return a canonical value as JSON; equal values give equal bytes."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str).encode(
        "utf-8", "surrogatepass"
    )


def digest(value: Any) -> str:
    """Return a short digest of a canonical value; equal values have equal digests."""
    return hashlib.sha256(sort_key(value)).hexdigest()[:16]


def _scalar(value: Any, frame: Frame) -> Any:
    if isinstance(value, Enum):
        return canonical(value.value, frame)
    if isinstance(value, datetime):
        return _text(value.isoformat(), frame)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return {"$seconds": value.total_seconds()}
    if isinstance(value, Decimal):
        return {"$decimal": str(value)}
    if isinstance(value, UUID):
        return _text(str(value), frame)
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        return {"$bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()[:16]}
    if isinstance(value, BaseException):
        return {"$exception": type(value).__name__, "message": _text(str(value), frame)}
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    return {"$object": kind, "text": _text(_ADDRESS.sub("", str(value)), frame)}


def _mapping(value: Mapping[Any, Any], frame: Frame, depth: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for index, (key, item) in enumerate(value.items()):
        if index >= ITEM_LIMIT:
            result["$more"] = len(value) - ITEM_LIMIT
            break
        result[key if isinstance(key, str) else f"{key!r}"] = canonical(item, frame, depth=depth + 1)
    return result


def _items(value: list[Any], frame: Frame, depth: int) -> list[Any]:
    result = [canonical(item, frame, depth=depth + 1) for item in value[:ITEM_LIMIT]]
    if len(value) > ITEM_LIMIT:
        rest = [canonical(item, frame, depth=depth + 1) for item in value[ITEM_LIMIT:DIGEST_LIMIT]]
        result.append({"$more": len(value) - ITEM_LIMIT, "sha256": digest(rest)})
    return result


def _number(value: int | float, frame: Frame) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    for unit, factor in (("", 1.0), (" ms", 1000.0)):
        if abs(value / factor - frame.clock) <= CLOCK_SLACK_S:
            return f"<clock{unit}>"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return {"$integer": str(value)[:200]}
    # Python's bool and int subclasses read back as plain numbers.
    return float(value) if isinstance(value, float) else int(value)


def _text(value: str, frame: Frame) -> Any:
    if len(value) > STRING_LIMIT:
        data = value.encode("utf-8", "surrogatepass")
        return {"$long": len(value), "sha256": hashlib.sha256(data).hexdigest()[:16], "start": value[:200]}
    for name, label in frame.names:
        value = value.replace(name, label)
    value = value.encode("utf-8", "backslashreplace").decode()
    return _MOMENT.sub(lambda match: _moment(match[0], frame), value)


def _read(text: str) -> datetime | None:
    """Read a moment; ``fromisoformat`` itself knows all of these forms only from Python 3.11 on."""
    match = _PARTS.fullmatch(text)
    if match is None:
        return None
    whole, digits, offset = match.groups(default="")
    sign, hours, minutes = offset[:1], offset[1:3], offset[-2:]
    zone = {"": "", "Z": "+00:00"}.get(offset, f"{sign}{hours}:{minutes}")
    try:
        return datetime.fromisoformat(f"{whole}{'' if whole.count(':') == 2 else ':00'}.{digits[:6]:0<6}{zone}")
    except ValueError:
        return None


def _moment(text: str, frame: Frame) -> str:
    moment = _read(text)
    if moment is None:
        return text
    naive = moment.tzinfo is None
    seconds = (moment.replace(tzinfo=timezone.utc) if naive else moment).timestamp()
    label = frame.moments.get(int(seconds), "")
    if abs(seconds - frame.clock) <= CLOCK_SLACK_S and not label:
        label = "clock"
    if not label:
        return text
    return f"<{label}, naive>" if naive else f"<{label}>"
