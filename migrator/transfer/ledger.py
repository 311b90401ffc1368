"""The book: what happened to which message, in a SQLite file beside the plan.

What makes a second run harmless is on the servers (the claims, and the ledger there). The book is the record for
people: ordinary messages as counts with a digest for each batch, everything unusual by id.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from migrator.errors import InterruptedRunError, UsageError
from migrator.translation.result import Translated
from migrator.wire.quarantined import Quarantined

_FLUSH_EVERY_S = 0.5
_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
  run INTEGER PRIMARY KEY, direction TEXT NOT NULL, plan TEXT NOT NULL, started_at REAL NOT NULL,
  finished_at REAL, balance INTEGER);
CREATE TABLE IF NOT EXISTS batches (
  run INTEGER NOT NULL, place TEXT NOT NULL, seen INTEGER NOT NULL, published INTEGER NOT NULL,
  already_there INTEGER NOT NULL, kept INTEGER NOT NULL, passed INTEGER NOT NULL, without_body INTEGER NOT NULL,
  digest TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
  run INTEGER NOT NULL, copy_id TEXT NOT NULL, id TEXT NOT NULL, task TEXT NOT NULL, place TEXT NOT NULL,
  fate TEXT NOT NULL, detail TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS servers (name TEXT PRIMARY KEY, mark TEXT NOT NULL, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS messages_by_id ON messages (id);
CREATE INDEX IF NOT EXISTS messages_by_copy ON messages (copy_id);
"""


class BatchCounts(NamedTuple):
    """What became of the messages of one batch, in the order of the table's columns."""

    seen: int
    published: int
    already_there: int
    quarantined: int
    filtered_out: int
    without_body: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One unusual message in the book."""

    run: int
    copy_id: str
    id: str
    task: str
    address: str
    #: ``kept:<reason>`` if quarantined; ``options`` if published without some options; ``without-body`` for bare ids.
    fate: str
    detail: str
    at_s: float


class Ledger:
    """An open book. Rows are written in groups, away from the hot path.

    Args:
        connection: The SQLite file.
        name: Its path, for messages to people.
    """

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._run = 0
        self._batches: list[tuple[Any, ...]] = []
        self._messages: list[tuple[Any, ...]] = []
        self._marks: dict[str, str] = {}
        self._flushed_at = time.monotonic()

    @classmethod
    @contextmanager
    def open(cls, file: Path) -> Iterator[Ledger]:
        """Open the book, creating it if missing, for the length of a ``with`` block.

        Raises:
            UsageError: The file can't be used.
        """
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            ignored = file.parent / ".gitignore"
            if not ignored.exists():
                ignored.write_text("*\n")
            connection = sqlite3.connect(file, timeout=10)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            remedy = "make the folder writable, or move the file away"
            raise UsageError(str(file), "the book can't be opened", found=str(error), remedy=remedy) from error
        book = cls(connection, str(file))
        try:
            yield book
            book.flush()
        except BaseException:
            # Record as much as possible; the first failure is the one to report.
            with suppress(InterruptedRunError):
                book.flush()
            raise
        finally:
            connection.close()

    def begin(self, direction: str, fingerprint: str) -> int:
        """Begin a run and return its number."""
        with self._writing():
            cursor = self._connection.execute(
                "INSERT INTO runs (direction, plan, started_at) VALUES (?, ?, ?)", (direction, fingerprint, time.time())
            )
        self._run = cursor.lastrowid or 0
        return self._run

    def add(
        self,
        address: str,
        translated: Sequence[Translated],
        quarantined: Sequence[tuple[str, Quarantined]],
        counts: BatchCounts,
    ) -> None:
        """Record one batch that was applied.

        Args:
            address: The queue that it came from.
            translated: The messages that have arrived.
            quarantined: The messages that were quarantined, each with the id of its copy.
            counts: The counts of the batch.
        """
        now = time.time()
        copies = "\n".join([message.source_copy for message in translated])
        digest = hashlib.sha256(copies.encode(errors="surrogateescape"))
        for message in translated:
            if message.dropped:
                detail = f"without effect: {', '.join(message.dropped)}"
                self._note(message.source_copy, message.id, message.source_task, address, "options", detail, now)
        for copy_id, back in quarantined:
            self._note(copy_id, back.id, back.task, address, f"kept:{back.reason.value}", back.detail, now)
        self._batches.append((self._run, address, *counts, digest.hexdigest(), now))
        if time.monotonic() - self._flushed_at > _FLUSH_EVERY_S:
            self.flush()

    def add_gone(self, address: str, copy_ids: Sequence[str]) -> None:
        """Record ids that a queue held without a message."""
        for copy_id in copy_ids:
            detail = "the queue held this id, and no message of that id"
            self._note(copy_id, "", "", address, "without-body", detail, time.time())

    def remember(self, server: str, mark: str) -> None:
        """Record what a server must know from now on."""
        self._marks[server] = mark

    def mark_of(self, server: str) -> str:
        """Return what a server must know; empty if nothing is recorded."""
        row = self._connection.execute("SELECT mark FROM servers WHERE name = ?", (server,)).fetchone()
        return row[0] if row else ""

    def forget_marks(self) -> None:
        """Forget what any server must know: our keys there are deleted."""
        with self._writing():
            self._connection.execute("DELETE FROM servers")

    def flush(self) -> None:
        """Write what was recorded.

        Raises:
            InterruptedRunError: The file can't be written.
        """
        self._flushed_at = time.monotonic()
        if not self._batches and not self._messages and not self._marks:
            return
        with self._writing():
            self._connection.executemany(f"INSERT INTO batches VALUES ({','.join('?' * 10)})", self._batches)
            self._connection.executemany(f"INSERT INTO messages VALUES ({','.join('?' * 8)})", self._messages)
            marks = [(server, mark, time.time()) for server, mark in self._marks.items()]
            self._connection.executemany("INSERT OR REPLACE INTO servers VALUES (?, ?, ?)", marks)
        self._batches.clear()
        self._marks.clear()
        self._messages.clear()

    def finish(self, balance: int) -> None:
        """End the run."""
        self.flush()
        with self._writing():
            self._connection.execute(
                "UPDATE runs SET finished_at = ?, balance = ? WHERE run = ?", (time.time(), balance, self._run)
            )

    def balance(self, run: int | None = None) -> int:
        """Return how many messages of a run (the last one if None) are unaccounted for; must be 0."""
        self.flush()
        row = self._connection.execute(
            "SELECT coalesce(sum(seen - published - already_there - kept - passed - without_body), 0) FROM batches"
            " WHERE run = coalesce(?, (SELECT max(run) FROM runs))",
            (run,),
        ).fetchone()
        return int(row[0])

    def find(self, identity: str) -> tuple[LedgerRow, ...]:
        """Return what the book says about a message id or the id of one copy, oldest first."""
        self.flush()
        rows = self._connection.execute(
            "SELECT run, copy_id, id, task, place, fate, detail, at FROM messages WHERE id = ? OR copy_id = ?"
            " ORDER BY at",
            (identity, identity),
        )
        return tuple(
            LedgerRow(run=r[0], copy_id=r[1], id=r[2], task=r[3], address=r[4], fate=r[5], detail=r[6], at_s=r[7])
            for r in rows
        )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with self._connection:
                yield
        except sqlite3.Error as error:
            remedy = "free space on the disk, then run the same command again; the messages themselves are safe"
            raise InterruptedRunError(
                self._name, "the book can't be written", found=str(error), remedy=remedy
            ) from error

    def _note(self, *values: Any) -> None:
        safe = [v.encode(errors="backslashreplace").decode() if isinstance(v, str) else v for v in values]
        self._messages.append((self._run, *safe))
