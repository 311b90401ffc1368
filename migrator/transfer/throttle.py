"""How large a step may be, and how soon the next may come: while a script runs, the server answers nobody else.

The server itself counts how long scripts and transactions have kept it busy (``INFO commandstats``). Asked now and
then on the lane that they use, it costs no waiting. What the tool could measure would be the server's time and its own
together.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from migrator.brokers.redis.pipeline import PendingReply, RedisPipeline

#: What one step of ours may keep a server busy, so that others are served within 10 ms: above the first steps become
#: smaller, below the second larger again.
_SLOW_MS, _FAST_MS = 5.0, 3.0
_SMALLEST, _GROWTH = 50, 25
#: More messages in one step are carried no faster, and keep the server busy for longer.
LARGEST = 250
#: Steps between two questions.
_EVERY = 8
_SCRIPTS = re.compile(rb"cmdstat_(?:evalsha|exec):calls=\d+,usec=(\d+)")


#: So much of a quiet time may be made up for, and so long is one step at a limited rate, in seconds.
_SLACK_S = 0.2


@dataclass(slots=True, kw_only=True)
class Limit:
    """At most so many messages a second. What was not used in a quiet time is not made up for later."""

    #: Messages per second; None for no limit.
    rate: float | None
    _done: int = 0
    _free_at: float = 0.0

    def most(self, size: int) -> int:
        """Return the size of a step: at a limited rate not more than the slack's messages, at least one."""
        return size if self.rate is None else max(1, min(size, int(self.rate * _SLACK_S)))

    def wait(self, done: int, *, should_stop: Callable[[], bool], meanwhile: Callable[[], None]) -> bool:
        """Wait until the next step may begin; return whether to stop instead.

        Args:
            done: Messages of all steps so far.
            should_stop: Asked again and again.
            meanwhile: Called again and again, such as to keep a lock.
        """
        if self.rate is not None:
            self._free_at = max(self._free_at, time.monotonic() - _SLACK_S) + (done - self._done) / self.rate
            self._done = done
            while (ahead_s := self._free_at - time.monotonic()) > 0 and not should_stop():
                time.sleep(min(ahead_s, _SLACK_S))
                meanwhile()
        return should_stop()


@dataclass(slots=True)
class _Gauge:
    """What one server has said."""

    asked: PendingReply
    #: Steps taken when it was asked.
    step: int
    #: What the last answer said, in microseconds, and the number of steps at that time.
    before: tuple[int, int] | None = None


@dataclass(slots=True, kw_only=True)
class Pace:
    """How many messages one step takes: fewer while it keeps a server busy for long."""

    most: int
    size: int = field(default=0)
    _steps: int = 0
    _gauges: dict[RedisPipeline, _Gauge] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.size = self.most

    def observe(self, busy_ms: float) -> None:
        """Adapt to how long a server was kept busy by one step of about the present size."""
        if busy_ms > _SLOW_MS:
            self.size = min(self.most, max(_SMALLEST, self.size * 2 // 3))
        elif busy_ms < _FAST_MS:
            self.size = min(self.most, self.size + _GROWTH)

    def step(self, lanes: Iterable[RedisPipeline]) -> None:
        """Take note of one step, and ask the servers if it is time."""
        self._steps += 1
        if self._steps % _EVERY == 1:
            readings = [self._ask(lane) for lane in lanes]
            self.observe(max(readings, default=0.0))

    def _ask(self, lane: RedisPipeline) -> float:
        """Ask one server again; return how long one step has kept it busy, by its last two answers, in ms."""
        gauge = self._gauges.get(lane)
        busy_ms = 0.0
        if gauge is None:
            gauge = self._gauges[lane] = _Gauge(asked=lane.ask("INFO", "commandstats"), step=self._steps)
            return busy_ms
        if gauge.asked.done:
            found = _script_us(gauge.asked.answer)
            if gauge.before is not None and gauge.step > gauge.before[1] and found >= gauge.before[0]:
                busy_ms = (found - gauge.before[0]) / (gauge.step - gauge.before[1]) / 1000
            gauge.before = (found, gauge.step)
        gauge.asked, gauge.step = lane.ask("INFO", "commandstats"), self._steps
        return busy_ms


def _script_us(answer: Any) -> int:
    text = answer if isinstance(answer, bytes) else str(answer).encode()
    return sum(map(int, _SCRIPTS.findall(text)))


def most(waiting: int) -> int:
    """Return how many messages to take at most: a producer that is faster than we are must not keep us for ever."""
    return waiting * 2 + 10_000
