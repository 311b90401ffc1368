"""The deduplication log of one RabbitMQ: a write-ahead log for the next run, if this one dies together with the server.

Before a transaction is committed, the file records what it consumes and publishes; afterwards, that it is committed.
The next run reads that and deduplicates as if it were the same run (:mod:`migrator.transfer.rabbitmq.dedup_window`). A
run that ends normally waits until the server has had time to write, then deletes the file.

The file is valid only together with a marker queue on the server, ``tqm.taken``, that is durable and has the number in
the file's head among its arguments. A server that was restored to an older state, or on which a run from another
machine has continued since, does not have it. Restoring a snapshot deletes that queue.

The file is in the state folder, is readable for its owner only, holds no messages (only fingerprints of 16 bytes), and
is rewritten when it has grown to some megabytes. Format: head, then blocks, each with checksums. A torn last block
belongs to a transaction that was not begun. Anything else that can't be read invalidates the whole file, because a
later block may say that a message is a new one.

The operating system decides when to write to disk. So after a power cut the transactions of the last seconds may be
missing, and their messages are doubled where the server has lost its acknowledgements. None is lost: the record that a
message was put into a queue again is on disk before the message is.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import amqp

from migrator.brokers.rabbitmq.queues import TAKEN
from migrator.errors import RefusedError
from migrator.report import Finding, Severity
from migrator.transfer.rabbitmq.dedup_format import (
    BEGIN,
    COMMIT,
    KNOWN,
    begin_block,
    blocks,
    commit_block,
    digest,
    head,
    known_block,
    number_in,
)
from migrator.transfer.rabbitmq.dedup_window import DedupWindow, Transaction

MAX_BYTES = 8 << 20
#: Used as ``x-max-length`` of the marker queue: a length that it never reaches.
_NUMBERS_FROM, _NUMBERS = 1_000_000_000, 1_000_000_000


@dataclass(slots=True, kw_only=True)
class DedupLog:
    """The deduplication windows of one server's queues, and the file."""

    file: Path
    #: By queue.
    windows: dict[str, DedupWindow]
    findings: list[Finding] = field(default_factory=list)
    #: When the last transaction was committed, by the monotonic clock.
    committed_at: float = 0.0
    #: The number that the marker queue must have; 0 before the first connection.
    _number: int = 0
    #: None while nothing is recorded.
    _descriptor: int | None = None
    _size: int = 0
    #: Its size when it was last rewritten.
    _compacted_size: int = 0
    _inode: int = 0

    def attach(self, connection: Any, *, restarted: bool) -> bool:
        """Read what an earlier run has left if it is valid for this server, then start to record this run.

        Returns whether the marker queue was declared.

        Args:
            connection: The connection that holds the lock.
            restarted: The server was restarted, perhaps with an older state.
        """
        if self._number and not restarted:
            return False
        first, self._number = not self._number, self._number or self._read()
        is_new = not (self._number and _has_marker(connection, self._number))
        if is_new:
            # A server without the marker may have been restored to an older state.
            for window in self.windows.values():
                window.clear()
            self._number = _NUMBERS_FROM + secrets.randbelow(_NUMBERS)
            self._close()
            if not _declare_marker(connection, self._number):
                return False
        elif not first:
            return False
        with self._without_file_on_error():
            self._rewrite()
        return is_new

    def begin(self, queue: str, transaction: Transaction, *, at_once: bool) -> None:
        """Record what is about to be committed; ``at_once``: it must survive a crash of this machine."""
        if self._descriptor is not None:
            with self._without_file_on_error():
                self._append(begin_block(queue, transaction))
                if at_once:
                    os.fdatasync(self._descriptor)

    def commit(self, queue: str) -> None:
        """Record that the transaction recorded last for a queue is committed."""
        self.committed_at = time.monotonic()
        if self._descriptor is not None:
            with self._without_file_on_error():
                self._append(commit_block(queue))
                if self._size > max(MAX_BYTES, 2 * self._compacted_size):
                    self._rewrite()

    def end(self, connection: Any) -> None:
        """End the run: delete the file, and the marker queue on the server."""
        self._close()
        if self._is_ours():
            self.file.unlink()
        forget_dedup_log(connection)

    def _append(self, data: bytes) -> None:
        assert self._descriptor is not None
        if os.write(self._descriptor, data) != len(data):
            raise OSError("the disk is full")
        self._size += len(data)

    def _rewrite(self) -> None:
        """Write everything remembered to a new file; a process that still writes to the old one has no effect."""
        if self._descriptor is not None and not self._is_ours():
            raise OSError("another run has taken it over")
        self.file.parent.mkdir(parents=True, exist_ok=True)
        new = self.file.with_suffix(".new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._close()
        self._descriptor, self._size = descriptor, 0
        self._append(head(self._number))
        for queue, window in self.windows.items():
            self._append(known_block(queue, window.content()))
            if window.pending is not None:
                self._append(begin_block(queue, window.pending))
        os.fsync(descriptor)
        self._compacted_size = self._size
        new.replace(self.file)
        self._inode = os.fstat(descriptor).st_ino

    def _read(self) -> int:
        """Fill the windows from the file and return its number; 0 if there is no valid file."""
        try:
            with self.file.open("rb") as opened:
                self._inode = os.fstat(opened.fileno()).st_ino
                content = opened.read()
            number = number_in(content)
            names = {digest(queue): queue for queue in self.windows}
            for kind, name, keys, sent in blocks(content):
                window = self.windows.get(names.get(name, ""))
                if window is None:
                    continue
                if kind == BEGIN:
                    known = tuple((names[to], copy, index) for to, copy, index in sent if to in names)
                    window.pending = Transaction(consumed=keys, published=known)
                elif kind == COMMIT and window.pending is not None:
                    window.apply(window.pending, self.windows)
                    window.pending = None
                elif kind == KNOWN:
                    for key in keys:
                        window.remember(key)
        except FileNotFoundError:
            return 0
        except (OSError, ValueError) as error:
            what = "the record of what an interrupted run has taken can't be read and is ignored"
            remedy = "if that run and the broker were killed together, compare the ids before workers are started"
            self._add_finding(what, str(error), remedy)
            return 0
        return number

    @contextmanager
    def _without_file_on_error(self) -> Iterator[None]:
        """Continue without the file if it can't be written: an incomplete one would do harm.

        Raises:
            RefusedError: It can't even be deleted.
        """
        try:
            yield
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._close()
        try:
            if self._is_ours():
                self.file.unlink()
        except OSError as again:
            remedy = "make the state folder writable, then run the same command again"
            where, what = str(self.file), "can't be written or deleted"
            raise RefusedError(where, what, found=str(again), remedy=remedy) from error
        what = "the record of what this run takes can't be written"
        remedy = "if it is killed together with the broker, compare the ids before workers are started"
        self._add_finding(what, str(error), remedy)

    def _add_finding(self, what: str, found: str, remedy: str) -> None:
        self.findings.append(
            Finding(
                code="TRANSFER-TAKEN",
                severity=Severity.WARNING,
                where=str(self.file),
                what=what,
                found=found,
                remedy=remedy,
            )
        )

    def _is_ours(self) -> bool:
        """Say whether the file is the one that we have read or written: another run may have taken over."""
        try:
            return self.file.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def open_dedup_log(folder: Path, identity: str, queues: Iterable[str]) -> DedupLog:
    """Return the log of one server's queues; nothing is read before :meth:`DedupLog.attach`.

    Args:
        folder: The plan's state folder.
        identity: What distinguishes the server from any other.
        queues: All queues of the plan on it, ours included.
    """
    log = DedupLog(file=folder / f"taken-{digest(identity).hex()}.bin", windows={})
    log.windows.update((queue, DedupWindow(queue=queue, log=log)) for queue in queues)
    return log


def forget_dedup_log(connection: Any) -> None:
    """Invalidate what any run has recorded about this server."""
    channel = connection.channel()
    # Deleting a queue that does not exist is no error.
    channel.queue_delete(queue=TAKEN)
    channel.close()


def _has_marker(connection: Any, number: int) -> bool:
    """Say whether the server has the marker queue with this number."""
    channel = connection.channel()
    try:
        channel.queue_declare(queue=TAKEN, passive=True)
        channel.queue_declare(queue=TAKEN, durable=True, auto_delete=False, arguments={"x-max-length": number})
    except (amqp.exceptions.NotFound, amqp.exceptions.PreconditionFailed):
        return False
    channel.close()
    return True


def _declare_marker(connection: Any, number: int) -> bool:
    """Declare the marker queue with this number; return whether the server permits it."""
    channel = connection.channel()
    try:
        channel.queue_delete(queue=TAKEN)
        channel.queue_declare(queue=TAKEN, durable=True, auto_delete=False, arguments={"x-max-length": number})
    except amqp.exceptions.ChannelError:
        return False
    channel.close()
    return True
