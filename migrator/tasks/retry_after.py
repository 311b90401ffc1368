"""How long a provider asked us to wait."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any


def retry_after_s(exc: Any) -> float | None:
    """Return the wait that an exception carries, in seconds: its `retry_after`, or a response's Retry-After header.

    The header holds seconds or an HTTP date. Anything else is ignored.
    """
    asked = getattr(exc, "retry_after", None)
    if asked is None:
        headers: Any = getattr(getattr(exc, "response", None), "headers", None)
        asked = headers.get("Retry-After") if hasattr(headers, "get") else None
    if asked is None and isinstance(exc, BaseException) and exc.__cause__ is not None:
        return retry_after_s(exc.__cause__)
    return _seconds(asked)


def _seconds(asked: Any) -> float | None:
    if asked is None:
        return None
    try:
        seconds = float(asked)
    except (TypeError, ValueError):
        seconds = _until(str(asked))
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def _until(date: str) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return math.nan
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return (moment - datetime.now(timezone.utc)).total_seconds()
