"""Progress of a running transfer: how much is done, how fast, and how long the rest takes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from migrator.events import Event, EventKind, Listener
from migrator.transfer.options import Tally

_EVERY_S = 0.2


@dataclass(slots=True, kw_only=True)
class ProgressReporter:
    """Reports to a listener, at most every fifth of a second."""

    listener: Listener
    tally: Tally
    #: The run goes on until it is told to stop.
    follow: bool
    started_at: float
    #: Messages in all; None while that is unknown.
    total: int | None = None
    _reported_at: float = field(default=0.0)

    def expect(self, waiting: int) -> None:
        """Take note of how many messages wait beside those already seen."""
        self.total = self.tally.seen + waiting

    def announce_follow(self) -> None:
        """Announce that what was there at the start is moved, and the bridge continues."""
        text = f"{self.tally.moved} moved; the bridge continues with what arrives, Ctrl-C ends it"
        self.listener(Event(kind=EventKind.NOTE, step="transfer", text=text))

    def report(self, *, final: bool = False) -> None:
        """Report how far the run is, unless that was reported a moment ago."""
        now = time.monotonic()
        if not final and now - self._reported_at < _EVERY_S:
            return
        self._reported_at = now
        elapsed_s = now - self.started_at
        rate = self.tally.seen / elapsed_s if elapsed_s else 0.0
        left = "; Ctrl-C ends the bridge" if self.follow else "" if final else self._left(rate)
        self.listener(
            Event(
                kind=EventKind.PROGRESS,
                step="transfer",
                text=f"{self.tally.moved} moved, {self.tally.quarantined} quarantined, {rate:,.0f} a second{left}",
                done=self.tally.seen,
                total=None if self.total is None else max(self.total, self.tally.seen),
                elapsed_s=elapsed_s,
            )
        )

    def _left(self, rate: float) -> str:
        left_s = (self.total - self.tally.seen) / rate if self.total and rate else 0.0
        return f", about {left_s:,.0f} s left" if left_s >= 1 else ""
