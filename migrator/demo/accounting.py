"""Account for every message by id: it has run, is waiting, or is quarantined or dead. Otherwise it is lost.

A message that ran twice in the same attempt is duplicated. The evidence is independent of the transfer's own records:
the audit files that the sample's processes write when they run a message, and the contents of the brokers.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from migrator.wire.message import Message, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One finished execution of a message."""

    id: str
    task: str
    system: str
    retries: int
    #: ``ok``, ``retry`` or ``error``.
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemTally:
    """Where the enqueued messages are, at one moment."""

    enqueued: int
    run: int
    waiting: int
    #: Quarantined by the transfer with a reason, or in the legacy system's own dead letter queue.
    quarantined: int
    #: Ids that were found nowhere.
    lost: tuple[str, ...]
    #: Ids that ran twice in the same attempt, or ran and are still waiting with that attempt.
    duplicated: tuple[str, ...]

    @property
    def balanced(self) -> bool:
        """True if no message is lost or duplicated."""
        return not self.lost and not self.duplicated


def read_runs(folder: Path) -> Iterator[Execution]:
    """Yield every finished execution from the audit files; a line that is still being written is skipped."""
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                continue
            event = orjson.loads(line)
            if event["event"] == "end":
                yield Execution(
                    id=event["id"],
                    task=event["task"],
                    system=event["system"],
                    retries=int(event["retries"] or 0),
                    outcome=event["outcome"],
                )


def read_ids(file: Path) -> list[str]:
    """Return the ids that a producer recorded, one JSON document per line."""
    if not file.is_file():
        return []
    return [orjson.loads(line)["id"] for line in file.read_bytes().splitlines() if line.strip()]


def poll_tally(
    enqueued: Callable[[], Iterable[str]],
    audit: Path,
    scan: Callable[[], Iterable[Message]],
    *,
    timeout_s: float = 20.0,
) -> SystemTally:
    """Account for ids while workers run; a message that is in transit is searched for again.

    Args:
        enqueued: Returns every id that a producer has enqueued.
        audit: Folder of the audit files.
        scan: Reads every message of every broker without taking it.
        timeout_s: How long a message may be in transit before it counts as lost.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        found = tally(enqueued(), scan(), audit, workers_stopped=False)
        if not found.lost or time.monotonic() >= deadline:
            return found
        time.sleep(0.5)


def tally(enqueued: Iterable[str], messages: Iterable[Message], audit: Path, *, workers_stopped: bool) -> SystemTally:
    """Account for ids at one moment.

    Args:
        enqueued: The ids to account for.
        messages: The contents of the brokers, read before the audit files.
        audit: Folder of the audit files, read last, because a run is recorded before its message is removed.
        workers_stopped: True if no worker runs; a message that ran and is still waiting is then a duplicate.
    """
    ids = set(enqueued)
    found = [message for message in messages if message.id in ids]
    queued = [message for message in found if message.state is not State.DEAD]
    quarantined = {message.id for message in found if message.state in (State.QUARANTINED, State.DEAD)}
    waiting = {message.id for message in queued} - quarantined
    ended = Counter((run.id, run.retries) for run in read_runs(audit) if run.id in ids)
    finished = {identifier for identifier, _retries in ended}
    duplicated = {identifier for (identifier, _retries), times in ended.items() if times > 1}
    copies = Counter((message.id, message.attempts) for message in queued)
    if workers_stopped:
        duplicated |= {identifier for (identifier, _attempts), times in copies.items() if times > 1}
        duplicated |= {identifier for identifier, attempts in copies if (identifier, attempts) in ended}
    return SystemTally(
        enqueued=len(ids),
        run=len(finished),
        waiting=len(waiting - finished),
        quarantined=len(quarantined - finished),
        lost=tuple(sorted(ids - finished - waiting - quarantined)),
        duplicated=tuple(sorted(duplicated)),
    )
