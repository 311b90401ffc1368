"""Arguments as JSON text that gives back exactly what was sent.

Text and not a JSON column: PostgreSQL's `jsonb` would turn 1e22 into an integer and refuse NaN and NUL.
The encoding is the one of Celery's own messages (kombu), so dates, UUIDs, decimals and bytes survive.
"""

from __future__ import annotations

from typing import Any

from kombu.utils import json

_NOT_JSON = (TypeError, ValueError, OverflowError, RecursionError)


def encode(value: Any) -> tuple[str, bool]:
    """Return the JSON text and whether decoding it gives the value back.

    A value that JSON can't represent becomes `{"__repr__": "..."}`, for people to read: that call can't be sent again.
    """
    try:
        return json.dumps(value), True
    except _NOT_JSON:
        return json.dumps(_readable(value)), False


def decode(text: str) -> Any:
    """Return the value that was encoded."""
    return json.loads(text)


def _readable(value: Any, depth: int = 0) -> Any:
    if depth < 20:
        if isinstance(value, dict):
            return {str(key): _readable(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [_readable(item, depth + 1) for item in value]
    try:
        json.dumps(value)
    except _NOT_JSON:
        return {"__repr__": _repr(value)}
    return value


def _repr(value: Any) -> str:
    try:
        return repr(value)[:10_000]
    except Exception as error:  # noqa: BLE001  # repr() is foreign code, and a dead letter must not fail on it
        return f"<{type(value).__name__} without a representation: {type(error).__name__}>"
