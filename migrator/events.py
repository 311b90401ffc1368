"""Progress events of a long run: plain values, rendered by the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class EventKind(StrEnum):
    """The kind of an event."""

    STEP_STARTED = "step-started"
    STEP_FINISHED = "step-finished"
    STEP_SKIPPED = "step-skipped"
    STEP_FAILED = "step-failed"
    STEP_UNDONE = "step-undone"
    ACTION = "action"
    PROGRESS = "progress"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of a run."""

    kind: EventKind
    #: Step name, or the phase of a run without steps.
    step: str
    #: One sentence to display.
    text: str = ""
    #: Work done and total work, for PROGRESS; the total is None while unknown.
    done: int = 0
    total: int | None = None
    elapsed_s: float = 0.0


Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Ignore an event."""
