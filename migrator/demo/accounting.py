"""Where every message is, by id: run, waiting, or kept back or dead. Anything else is lost; run twice is duplicated.

Evidence is independent of the transfer's own books: what the sample's processes wrote down when they ran a message
(audit files), and what lies in the brokers.
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
    """One execution that ended."""

    id: str
    task: str
    system: str
    retries: int
    #: ``ok``, ``retry`` or ``error``.
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Where the enqueued messages are."""

    enqueued: int
    run: int
    waiting: int
    #: Kept back by the transfer with a reason, or given up by the legacy system in its own dead letter queue.
    quarantined: int
    #: Ids that are nowhere.
    lost: tuple[str, ...]
    #: Ids that ran twice in the same attempt, or ran and still wait in that attempt.
    duplicated: tuple[str, ...]

    @property
    def balanced(self) -> bool:
        """True if nothing is lost and nothing doubled."""
        return not self.lost and not self.duplicated


def read_runs(folder: Path) -> Iterator[Execution]:
    """Yield every execution that ended, from the audit files; a line still being written is left out."""
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
    """Return the ids that a producer recorded, one JSON document a line."""
    if not file.is_file():
        return []
    return [orjson.loads(line)["id"] for line in file.read_bytes().splitlines() if line.strip()]


def settle(
    enqueued: Callable[[], Iterable[str]],
    audit: Path,
    scan: Callable[[], Iterable[Message]],
    *,
    timeout_s: float = 20.0,
) -> Account:
    """Account for ids while workers run: a message on its way between two places is looked for again.

    Args:
        enqueued: Returns every id that a producer handed over.
        audit: Folder of the audit files.
        scan: Reads every message of every broker without taking it.
        timeout_s: How long a message may be on its way before it counts as lost.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        account = take(enqueued(), scan(), audit, quiet=False)
        if not account.lost or time.monotonic() >= deadline:
            return account
        time.sleep(0.5)


def take(enqueued: Iterable[str], messages: Iterable[Message], audit: Path, *, quiet: bool) -> Account:
    """Account for ids at one moment.

    Args:
        enqueued: The ids to account for.
        messages: What lies in the brokers; read before the audit files are.
        audit: Folder of the audit files, read last, because a run is written down before its message is removed.
        quiet: True if no worker runs: then a message that ran and still waits is a duplicate.
    """
    ids = set(enqueued)
    found = [message for message in messages if message.id in ids]
    lying = [message for message in found if message.state is not State.DEAD]
    quarantined = {message.id for message in found if message.state in (State.QUARANTINED, State.DEAD)}
    waiting = {message.id for message in lying} - quarantined
    ended = Counter((run.id, run.retries) for run in read_runs(audit) if run.id in ids)
    finished = {identifier for identifier, _retries in ended}
    duplicated = {identifier for (identifier, _retries), times in ended.items() if times > 1}
    copies = Counter((message.id, message.attempts) for message in lying)
    if quiet:
        duplicated |= {identifier for (identifier, _attempts), times in copies.items() if times > 1}
        duplicated |= {identifier for identifier, attempts in copies if (identifier, attempts) in ended}
    return Account(
        enqueued=len(ids),
        run=len(finished),
        waiting=len(waiting - finished),
        quarantined=len(quarantined - finished),
        lost=tuple(sorted(ids - finished - waiting - quarantined)),
        duplicated=tuple(sorted(duplicated)),
    )
