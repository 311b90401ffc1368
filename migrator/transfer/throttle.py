"""How large a step may be, and how soon the next may follow: while a script runs, the server answers nobody else.

The server itself counts how long scripts and transactions have kept it busy (``INFO commandstats``). Asking for that
now and then on the pipeline that the scripts use costs no waiting. What the tool could measure by itself would be the
server's time and its own together.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from migrator.brokers.redis.pipeline import PendingReply, RedisPipeline

#: How long one step may keep a server busy, so that others are served within 10 ms: above the first value steps become
#: smaller, below the second they become larger again.
_SLOW_MS, _FAST_MS = 5.0, 3.0
_SMALLEST, _GROWTH = 50, 25
#: More messages in one step are not moved any faster, and keep the server busy for longer.
LARGEST = 250
#: Steps between two readings.
_EVERY = 8
_SCRIPTS = re.compile(rb"cmdstat_(?:evalsha|exec):calls=\d+,usec=(\d+)")


#: How much idle time may be made up for, and how long one step takes at a limited rate, in seconds.
_SLACK_S = 0.2


@dataclass(slots=True, kw_only=True)
class Limit:
    """At most this many messages a second. Idle time is not made up for later."""

    #: Messages per second; None for no limit.
    rate: float | None
    _done: int = 0
    _free_at: float = 0.0

    def most(self, size: int) -> int:
        """Return the size of a step: at a limited rate no more messages than fit into the slack, and at least one."""
        return size if self.rate is None else max(1, min(size, int(self.rate * _SLACK_S)))

    def wait(self, done: int, *, should_stop: Callable[[], bool], keep_alive: Callable[[], None]) -> bool:
        """Wait until the next step may begin; return whether to stop instead.

        Args:
            done: Messages of all steps so far.
            should_stop: Called repeatedly.
            keep_alive: Called repeatedly, for example to extend a lock.
        """
        if self.rate is not None:
            self._free_at = max(self._free_at, time.monotonic() - _SLACK_S) + (done - self._done) / self.rate
            self._done = done
            while (ahead_s := self._free_at - time.monotonic()) > 0 and not should_stop():
                time.sleep(min(ahead_s, _SLACK_S))
                keep_alive()
        return should_stop()


@dataclass(slots=True)
class _Gauge:
    """The readings of one server."""

    asked: PendingReply
    #: Number of steps when it was asked.
    step: int
    #: The last reading, in microseconds, and the number of steps at that time.
    before: tuple[int, int] | None = None


@dataclass(slots=True, kw_only=True)
class Pace:
    """How many messages one step takes: fewer while steps keep a server busy for too long."""

    most: int
    size: int = field(default=0)
    _steps: int = 0
    _gauges: dict[RedisPipeline, _Gauge] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.size = self.most

    def observe(self, busy_ms: float) -> None:
        """Adapt to how long one step of about the current size kept a server busy."""
        if busy_ms > _SLOW_MS:
            self.size = min(self.most, max(_SMALLEST, self.size * 2 // 3))
        elif busy_ms < _FAST_MS:
            self.size = min(self.most, self.size + _GROWTH)

    def step(self, pipelines: Iterable[RedisPipeline]) -> None:
        """Count one step, and query the servers if it is time."""
        self._steps += 1
        if self._steps % _EVERY == 1:
            readings = [self._ask(pipeline) for pipeline in pipelines]
            self.observe(max(readings, default=0.0))

    def _ask(self, pipeline: RedisPipeline) -> float:
        """Query one server again; return how long one step kept it busy, by its last two answers, in ms."""
        gauge = self._gauges.get(pipeline)
        busy_ms = 0.0
        if gauge is None:
            gauge = self._gauges[pipeline] = _Gauge(asked=pipeline.ask("INFO", "commandstats"), step=self._steps)
            return busy_ms
        if gauge.asked.done:
            found = _script_us(gauge.asked.answer)
            if gauge.before is not None and gauge.step > gauge.before[1] and found >= gauge.before[0]:
                busy_ms = (found - gauge.before[0]) / (gauge.step - gauge.before[1]) / 1000
            gauge.before = (found, gauge.step)
        gauge.asked, gauge.step = pipeline.ask("INFO", "commandstats"), self._steps
        return busy_ms


def _script_us(answer: Any) -> int:
    text = answer if isinstance(answer, bytes) else str(answer).encode()
    return sum(map(int, _SCRIPTS.findall(text)))


def most(waiting: int) -> int:
    """Return how many messages to take at most: a producer that is faster than we are must not keep us for ever."""
    return waiting * 2 + 10_000
