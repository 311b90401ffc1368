"""Why a task differs between two runs: a sample of the values at each noisy path, and the most likely reason."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from checks.compare.normalize import ABSENT
from migrator.agent.canonical import sort_key

#: Longest sample that is stored.
SAMPLE_LENGTH = 200
#: How far the difference of two moments may be from the clock's offset to still count as following the clock.
SLACK_S = 60.0
_RANDOM = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}|[0-9a-f]{16,}", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseSample:
    """One path at which two runs of the same task differ."""

    #: ``*`` stands for any item of a list.
    path: str
    first: str
    second: str
    why: str


def sample(path: tuple[str, ...], first: Any, second: Any, clock_offset_s: float) -> NoiseSample:
    """Return the values of both runs at a noisy path, and the most likely reason."""
    left, right = _values(first, path), _values(second, path)
    pairs = ((a, b) for a, b in zip(left, right, strict=False) if sort_key(a) != sort_key(b))
    pair = next(pairs, (left or ABSENT, right or ABSENT))
    return NoiseSample(
        path=".".join(path), first=_short(pair[0]), second=_short(pair[1]), why=reason(pair[0], pair[1], clock_offset_s)
    )


def reason(first: Any, second: Any, clock_offset_s: float) -> str:
    """Return the most likely reason why a value differs between two runs with different clock, seed and order."""
    if ABSENT in (first, second):
        return "only one of the runs has it: a race, or the iteration order of a set"
    if isinstance(first, list) and isinstance(second, list):
        if sorted(map(sort_key, first)) == sorted(map(sort_key, second)):
            return "the same items in another order: the iteration order of a set, or concurrency"
        return "lists of different length or content: a race, or random values"
    moments = [_moment(value) for value in (first, second)]
    if all(moment is not None for moment in moments):
        step_s = abs(float(moments[1] or 0) - float(moments[0] or 0))
        if abs(step_s - abs(clock_offset_s)) <= SLACK_S:
            return "it follows the clock"
        return "a moment that does not follow the case's clock: it comes from the real time"
    if isinstance(first, str) and isinstance(second, str):
        if _RANDOM.sub("", first) == _RANDOM.sub("", second):
            return "a random id"
        if sorted(first) == sorted(second):
            return "the same characters in another order: the iteration order of a set in a text"
    if isinstance(first, (int, float)) and isinstance(second, (int, float)):
        return "a number that differs: a measurement, a counter across runs, or a random value"
    return "it differs from run to run: a race, real time, or a random value"


def _values(value: Any, path: Sequence[str]) -> list[Any]:
    """Return all values at a path, in order."""
    if not path:
        return [value]
    head, rest = path[0], path[1:]
    if head == "*" and isinstance(value, list):
        return [found for item in value for found in _values(item, rest)]
    if isinstance(value, Mapping):
        return _values(value[head], rest) if head in value else [ABSENT]
    return [ABSENT]


def _moment(value: Any) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp()


def _short(value: Any) -> str:
    text = sort_key(value).decode()
    return text if len(text) <= SAMPLE_LENGTH else f"{text[:SAMPLE_LENGTH]}…"
