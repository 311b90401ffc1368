"""What a transfer is asked for and what it reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from migrator.report import Finding
from migrator.wire.message import System

#: A report names so many of the messages that were kept back; the book has all.
MOST_RECORDS = 1000


class Direction(StrEnum):
    """Which way messages go."""

    #: From the legacy queues to the unified one.
    FORWARD = "forward"
    #: From the unified queue to the legacy ones.
    BACK = "back"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferOptions:
    """What to move and how."""

    direction: Direction = Direction.FORWARD
    #: Only these tasks, by legacy or unified name; empty for all.
    tasks: frozenset[str] = frozenset()
    #: Only these queues of the side that is emptied; empty for all.
    queues: frozenset[str] = frozenset()
    #: Only this system's messages, or only back to this system; None for both.
    system: System | None = None
    #: At most so many messages in one step; fewer when the server is slow or messages are large.
    batch_size: int = 500
    dry_run: bool = False
    #: The caller has made sure that every worker of the emptied side has ended: take over what they had claimed.
    consumers_stopped: bool = False
    #: How long a Dramatiq worker must stay silent while we watch before its claims are taken over.
    silence_s: float = 6.0
    #: Messages per second at most; None for no limit.
    max_rate: float | None = None
    #: How long a lost connection may stay lost.
    reconnect_s: float = 20.0
    #: How long to wait for another run's lock.
    lock_wait_s: float = 10.0
    #: Take the lock from another run that is known to have ended on another machine.
    takeover: bool = False
    #: Put messages that were kept back on the emptied side into their queues first, to be tried again.
    retry_quarantined: bool = False
    #: Go on with what arrives later until told to stop: a bridge for producers that still use the emptied side.
    follow: bool = False
    #: Park messages that are due later than Celery on Redis can wait (:mod:`migrator.transfer.delayed`). None: if the
    #: plan installs the unified app, whose workers release them.
    park: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineRecord:
    """One message that was kept back."""

    id: str
    copy_id: str
    task: str
    queue: str
    system: System
    reason: str
    detail: str


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts of one run, while it runs."""

    seen: int = 0
    moved: int = 0
    #: Refused by the destination's ledger: they had arrived before.
    already_there: int = 0
    #: Ids whose message was gone.
    without_body: int = 0
    quarantined: int = 0
    #: Left where they were by the filter.
    filtered_out: int = 0
    #: Of those seen: taken over from a run that was interrupted.
    resumed: int = 0
    #: Given back by workers that had ended.
    reclaimed: int = 0
    #: Kept-back messages that were put back into their queues.
    restored: int = 0
    #: Messages whose ETA lies further away than a worker may hold them: on Redis kept back where nobody parks them.
    beyond_visibility: int = 0
    #: Of those moved: due so late that they are parked.
    parked: int = 0
    #: Put from the parked ones into the queue.
    released: int = 0
    longest_eta_ms: int = 0
    reconnects: int = 0
    by_task: dict[str, int] = field(default_factory=dict)
    by_queue: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    #: Options without a counterpart, by name.
    dropped_options: dict[str, int] = field(default_factory=dict)
    quarantined_messages: list[QuarantineRecord] = field(default_factory=list)

    @property
    def handled(self) -> int:
        """Messages that count for a limited rate: what a filter leaves alone costs nobody anything."""
        return self.seen - self.filtered_out

    @property
    def balance(self) -> int:
        """Messages taken whose fate is unknown: must be 0."""
        return self.seen - self.moved - self.quarantined - self.already_there - self.without_body - self.filtered_out


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferReport:
    """What a transfer did, or would do."""

    direction: Direction
    dry_run: bool
    seen: int
    moved: int
    quarantined: int
    already_there: int
    without_body: int
    filtered_out: int
    resumed: int
    reclaimed: int
    restored: int
    #: Moved messages by the name that they had.
    by_task: Mapping[str, int]
    #: Moved messages by the queue that they lay in, such as ``dramatiq:default.DQ``.
    by_queue: Mapping[str, int]
    #: Kept-back messages by reason.
    reasons: Mapping[str, int]
    #: The first thousand of them; the book has all.
    quarantined_messages: tuple[QuarantineRecord, ...]
    #: For each reason, the first message's bytes as text (a dry run only).
    examples: Mapping[str, str]
    dropped_options: Mapping[str, int]
    #: Messages whose ETA lies further away than a worker may hold them: on Redis kept back where nobody parks them.
    beyond_visibility: int
    #: Of those moved: due so late that they are parked until shortly before.
    parked: int
    #: Parked before, and put into the queue by this run.
    released: int
    #: Messages that are still on the emptied side, by ``queue state``.
    left: Mapping[str, int]
    findings: tuple[Finding, ...]
    elapsed_s: float
    #: Messages per second.
    rate: float
    reconnects: int
    #: Messages taken whose fate is unknown, plus bodies that no queue names: must be 0.
    balance: int


#: Asked between batches; a true answer ends the run cleanly.
ShouldStop = Callable[[], bool]
