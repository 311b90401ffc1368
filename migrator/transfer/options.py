"""The options of a transfer, and its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from migrator.report import Finding
from migrator.wire.message import System

#: A report lists at most this many quarantined messages; the book has all of them.
MOST_RECORDS = 1000


class Direction(StrEnum):
    """The direction of a transfer."""

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
    #: Only messages of this legacy system, or only back to it; None for both.
    system: System | None = None
    #: At most this many messages in one step; fewer when the server is slow or messages are large.
    batch_size: int = 500
    dry_run: bool = False
    #: The caller has made sure that every worker of the emptied side has stopped: reclaim what they had claimed.
    consumers_stopped: bool = False
    #: How long a Dramatiq worker must send no heartbeat while we watch before its claims are reclaimed.
    silence_s: float = 6.0
    #: Messages per second at most; None for no limit.
    max_rate: float | None = None
    #: How long to try to reconnect after a connection is lost.
    reconnect_s: float = 20.0
    #: How long to wait for another run's lock.
    lock_wait_s: float = 10.0
    #: Take the lock from a run on another machine that is known to have ended.
    takeover: bool = False
    #: First put the quarantined messages of the emptied side back into their queues, to be tried again.
    retry_quarantined: bool = False
    #: A server may have forgotten what it has confirmed to an earlier run: the operator has looked.
    accept_forgotten: bool = False
    #: Continue with what arrives later until told to stop: a bridge for producers that still use the emptied side.
    follow: bool = False
    #: The caller has made sure that the unified workers release parked messages: park what is due later than Celery on
    #: Redis can wait (:mod:`migrator.transfer.delayed`). Without it such messages are quarantined.
    park: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineRecord:
    """One quarantined message."""

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
    #: Refused because of the destination's ledger: they had arrived before.
    already_there: int = 0
    #: Ids without a message.
    without_body: int = 0
    quarantined: int = 0
    #: Filtered out: left where they were.
    filtered_out: int = 0
    #: Of those filtered out: of tasks outside of the plan's scope, by task.
    stays: Counter[str] = field(default_factory=Counter)
    #: A dry run: how many of those send a task of the plan next, by its name.
    goes_on: Counter[str] = field(default_factory=Counter)
    #: Of those seen: claimed by a run that was interrupted.
    resumed: int = 0
    #: Reclaimed from workers that had stopped.
    reclaimed: int = 0
    #: Quarantined messages that were put back into their queues.
    restored: int = 0
    #: Messages whose ETA is later than a worker may hold them: on Redis quarantined where they can't be parked.
    beyond_visibility: int = 0
    #: Of those moved: parked, because they are due too late for the queue.
    parked: int = 0
    #: Parked messages that were put into the queue.
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
        """Messages that count towards a limited rate: those filtered out cost nothing."""
        return self.seen - self.filtered_out

    @property
    def balance(self) -> int:
        """Messages taken that are unaccounted for: must be 0."""
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
    #: Of those filtered out: of tasks outside of the plan's scope, by task. Their messages are left in their queues.
    stays: Mapping[str, int]
    #: A dry run: how many of those send a task of the plan next, by its name.
    goes_on: Mapping[str, int]
    resumed: int
    reclaimed: int
    restored: int
    #: Moved messages by the task name that they had.
    by_task: Mapping[str, int]
    #: Moved messages by the queue that they were in, such as ``dramatiq:default.DQ``.
    by_queue: Mapping[str, int]
    #: Quarantined messages by reason.
    reasons: Mapping[str, int]
    #: The first thousand of them; the book has all.
    quarantined_messages: tuple[QuarantineRecord, ...]
    #: For each reason, the first message's bytes as text (a dry run only).
    examples: Mapping[str, str]
    dropped_options: Mapping[str, int]
    #: Messages whose ETA is later than a worker may hold them: on Redis quarantined where they can't be parked.
    beyond_visibility: int
    #: Of those moved: parked until shortly before they are due.
    parked: int
    #: Parked by an earlier run, and put into the queue by this one.
    released: int
    #: How many seconds away the latest ETA of a moved message is; 0 without one.
    longest_eta_s: float
    #: Messages that are still on the emptied side, by ``queue state``.
    left: Mapping[str, int]
    findings: tuple[Finding, ...]
    elapsed_s: float
    #: Messages per second.
    rate: float
    reconnects: int
    #: Messages taken that are unaccounted for, plus bodies that no queue names: must be 0.
    balance: int


#: Called between batches; a true result ends the run cleanly.
ShouldStop = Callable[[], bool]
