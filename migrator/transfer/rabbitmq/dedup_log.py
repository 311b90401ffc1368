"""What was taken from the queues of one RabbitMQ lately, in a file: for the next run, if this one dies with the server.

Before a transaction is committed, the file says what it takes and publishes; afterwards, that it is committed. The next
run reads that and compares as if it had been the same run (:mod:`migrator.transfer.rabbitmq.dedup_window`). A run that
comes to its end waits until the server has had time to write, then deletes the file.

The file counts only together with a queue on the server, ``tqm.taken``, that is durable and has the number in the
file's head among its arguments. A server that was put back to an older state, or on which another machine's run has
gone on since, does not have it. What is put back into the queues from a snapshot deletes that queue.

It lies in the state folder, is readable for its owner only, holds no message (fingerprints of 16 bytes), and is
written anew when it has grown to some megabytes. Shape: head, then blocks, each with checksums. A last block that is
torn is one whose transaction was not begun. Anything else that can't be read makes the whole file count for nothing,
since what it says later may be that a message is a new one.

The system writes to disk when it likes. So after a power cut the last seconds' transactions may be missing, and their
messages are doubled as far as the server has lost its acknowledgements. None is lost: that a message was put into a
queue again is on disk before it is.
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
#: A length that no queue of ours ever has.
_NUMBERS_FROM, _NUMBERS = 1_000_000_000, 1_000_000_000


@dataclass(slots=True, kw_only=True)
class DedupLog:
    """The windows of one server's queues, and the file."""

    file: Path
    #: By queue.
    windows: dict[str, DedupWindow]
    findings: list[Finding] = field(default_factory=list)
    #: When the last transaction was through, by the monotonic clock.
    committed_at: float = 0.0
    #: What the server's queue has to have; 0 before the first connection.
    _number: int = 0
    #: None while nothing is written down.
    _descriptor: int | None = None
    _size: int = 0
    #: Its size when it was written anew.
    _least: int = 0
    _inode: int = 0

    def attach(self, connection: Any, *, restarted: bool) -> bool:
        """Read what an earlier run has left if the server is the one it knew, then write down what this run does.

        Returns whether a queue was made for that.

        Args:
            connection: That which holds the lock.
            restarted: The server was, perhaps with an older state.
        """
        if self._number and not restarted:
            return False
        first, self._number = not self._number, self._number or self._read()
        is_new = not (self._number and _has(connection, self._number))
        if is_new:
            # A server that knows nothing of it may have been put back to an older state.
            for window in self.windows.values():
                window.clear()
            self._number = _NUMBERS_FROM + secrets.randbelow(_NUMBERS)
            self._close()
            if not _give(connection, self._number):
                return False
        elif not first:
            return False
        with self._careful():
            self._write_anew()
        return is_new

    def begin(self, queue: str, transaction: Transaction, *, at_once: bool) -> None:
        """Note what is about to be committed; ``at_once``: it must outlast the machine."""
        if self._descriptor is not None:
            with self._careful():
                self._append(begin_block(queue, transaction))
                if at_once:
                    os.fdatasync(self._descriptor)

    def commit(self, queue: str) -> None:
        """Note that what was noted last for a queue is committed."""
        self.committed_at = time.monotonic()
        if self._descriptor is not None:
            with self._careful():
                self._append(commit_block(queue))
                if self._size > max(MAX_BYTES, 2 * self._least):
                    self._write_anew()

    def end(self, connection: Any) -> None:
        """The run has come to its end: delete the file, and the queue on the server."""
        self._close()
        if self._is_ours():
            self.file.unlink()
        forget_dedup_log(connection)

    def _append(self, data: bytes) -> None:
        assert self._descriptor is not None
        if os.write(self._descriptor, data) != len(data):
            raise OSError("the disk is full")
        self._size += len(data)

    def _write_anew(self) -> None:
        """Write all that is remembered to a new file; who still writes to the old one changes nothing."""
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
        self._least = self._size
        new.replace(self.file)
        self._inode = os.fstat(descriptor).st_ino

    def _read(self) -> int:
        """Fill the windows from the file and return its number, 0 if there is none that counts."""
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
                    window.pending = Transaction(taken=keys, sent=known)
                elif kind == COMMIT and window.pending is not None:
                    window.apply(window.pending, self.windows)
                    window.pending = None
                elif kind == KNOWN:
                    for key in keys:
                        window.remember(key)
        except FileNotFoundError:
            return 0
        except (OSError, ValueError) as error:
            what = "what an interrupted run has taken can't be read and counts for nothing"
            remedy = "if that run and the broker were killed together, compare the ids before workers are started"
            self._tell(what, str(error), remedy)
            return 0
        return number

    @contextmanager
    def _careful(self) -> Iterator[None]:
        """Go on without the file if it can't be written: one that lacks something would do harm.

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
        what = "what this run takes can't be written down"
        remedy = "if it is killed together with the broker, compare the ids before workers are started"
        self._tell(what, str(error), remedy)

    def _tell(self, what: str, found: str, remedy: str) -> None:
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
        """Say whether the file is the one that we have read or written: another run may have taken our place."""
        try:
            return self.file.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def open_dedup_log(folder: Path, identity: str, queues: Iterable[str]) -> DedupLog:
    """Return what is remembered of one server's queues; nothing is read before :meth:`DedupLog.attach`.

    Args:
        folder: The plan's state folder.
        identity: What tells the server from any other.
        queues: All queues of the plan on it, ours included.
    """
    taken = DedupLog(file=folder / f"taken-{digest(identity).hex()}.bin", windows={})
    taken.windows.update((queue, DedupWindow(queue=queue, log=taken)) for queue in queues)
    return taken


def forget_dedup_log(connection: Any) -> None:
    """Make what any run remembers of this server count for nothing from now on."""
    channel = connection.channel()
    # It is fine with the server if there is none.
    channel.queue_delete(queue=TAKEN)
    channel.close()


def _has(connection: Any, number: int) -> bool:
    """Say whether the server has our queue with this number."""
    channel = connection.channel()
    try:
        channel.queue_declare(queue=TAKEN, passive=True)
        channel.queue_declare(queue=TAKEN, durable=True, auto_delete=False, arguments={"x-max-length": number})
    except (amqp.exceptions.NotFound, amqp.exceptions.PreconditionFailed):
        return False
    channel.close()
    return True


def _give(connection: Any, number: int) -> bool:
    """Make our queue with this number; return whether the server lets us."""
    channel = connection.channel()
    try:
        channel.queue_delete(queue=TAKEN)
        channel.queue_declare(queue=TAKEN, durable=True, auto_delete=False, arguments={"x-max-length": number})
    except amqp.exceptions.ChannelError:
        return False
    channel.close()
    return True
