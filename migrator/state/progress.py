"""How far a long run has come, for whoever asks from another terminal: one small file in the state folder.

It is replaced a few times a second at most and never waited for: it tells, nothing depends on it. What was done for
good stands in the journal and in the ledgers of the transfer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson

from migrator.events import Event, EventKind, Listener
from migrator.plan.model import Plan

#: Seconds after which what the file says is no longer now.
STALE_S = 15.0
#: At least so many seconds between two writes.
EVERY_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """How far a run has come."""

    #: What is counted, for a person: ``messages to the unified queues``.
    what: str
    done: int
    #: None while unknown.
    total: int | None
    elapsed_s: float
    #: Seconds since the epoch at which this was true.
    at: float
    pid: int

    @property
    def rate(self) -> float:
        """Return how many a second."""
        return self.done / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def left(self) -> int | None:
        """Return how many are left; None if that is not known."""
        return None if self.total is None else max(0, self.total - self.done)

    @property
    def left_s(self) -> float | None:
        """Return the seconds that the rest takes at this rate; None if that can't be said."""
        return self.left / self.rate if self.left is not None and self.rate else None

    @property
    def text(self) -> str:
        """All of it, for a person."""
        of = "" if self.total is None else f" of {self.total:,}"
        rest = f", {self.left:,} left" if self.left is not None else ""
        rest += f", about {self.left_s:,.0f} s" if self.left_s is not None else ""
        return f"{self.done:,}{of} {self.what}, {self.rate:,.0f} a second{rest}"


def progress_file(plan: Plan) -> Path:
    """Return the file."""
    return plan.state_folder / "progress.json"


@contextmanager
def recorded_progress(plan: Plan, what: str, listener: Listener) -> Iterator[Listener]:
    """Give a listener that also writes what passes it; afterwards nothing is under way any more."""
    written_at = 0.0

    def listen(event: Event) -> None:
        nonlocal written_at
        now = time.monotonic()
        if event.kind is EventKind.PROGRESS and now - written_at >= EVERY_S:
            written_at = now
            total = event.total
            _write(plan, RunProgress(what=what, done=event.done, total=total, elapsed_s=event.elapsed_s, at=0.0, pid=0))
        listener(event)

    try:
        yield listen
    finally:
        progress_file(plan).unlink(missing_ok=True)


def read_progress(plan: Plan) -> RunProgress | None:
    """Return what is under way now; None if nothing is, or if nobody has said anything for a while."""
    try:
        found = RunProgress(**orjson.loads(progress_file(plan).read_bytes()))
    except (OSError, orjson.JSONDecodeError, TypeError):
        return None
    return found if 0 <= time.time() - found.at < STALE_S else None


def _write(plan: Plan, progress: RunProgress) -> None:
    file = progress_file(plan)
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        draft.write_bytes(orjson.dumps(asdict(replace(progress, at=time.time(), pid=os.getpid()))))
        draft.replace(file)
    except OSError:
        # A full disk is reported by what has to be written.
        draft.unlink(missing_ok=True)
