"""Empty one queue after the other: claim, translate, push, apply, with the servers and the translation in parallel.

While a batch is translated here, the servers push and apply the batches before and claim the batch after. What is in
doubt after an error is looked up on the servers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from migrator.transfer.batch import Batch, Work, prepare
from migrator.transfer.connections import Connections
from migrator.transfer.ports import QueueReader, TransferServer
from migrator.transfer.throttle import Pace
from migrator.translation.result import Translation, Translator


@dataclass(slots=True, kw_only=True)
class InFlightBatch:
    """A batch in flight: being pushed or applied, not yet counted."""

    reader: QueueReader
    work: Work
    #: The servers that it was pushed to, and the outcomes.
    pushes: list[tuple[TransferServer, Callable[[], int]]] = field(default_factory=list)
    applied: Callable[[], None] | None = None


@dataclass(slots=True, kw_only=True)
class Mover:
    """Empties queues."""

    connections: Connections
    #: Called with every batch that has been applied.
    on_applied: Callable[[Work], None]
    #: Called before a batch is claimed; a true result ends the queue.
    should_stop: Callable[[], bool]
    pace: Pace
    #: At a limited rate nothing is done ahead.
    is_limited: bool = False
    #: After an error, the outcome of what is left here is looked up.
    _in_flight: deque[InFlightBatch] = field(default_factory=deque)
    #: After an error: messages may have reached another server already.
    _must_check_ledger: bool = False

    def finish(self, reader: QueueReader, translate: Translator, selects: Callable[[Translation], bool]) -> None:
        """Move what an interrupted run had claimed from one queue."""
        for batch in reader.leftovers():
            self._launch(reader, prepare(self.connections, batch, translate, selects))
            self._settle()

    def empty(
        self, reader: QueueReader, translate: Translator, selects: Callable[[Translation], bool], *, limit: int
    ) -> None:
        """Move what a queue holds, until it is found empty or about ``limit`` messages were moved.

        An error of a server's library may come at any time; then :meth:`recover`, :meth:`finish`, and this again.
        """
        left, pending = limit, self._claim(reader, limit)
        batch = pending() if pending else None
        while batch is not None:
            left -= len(batch.items)
            pending = self._claim(reader, left)
            work = prepare(self.connections, batch, translate, selects)
            # The server has prepared this answer during the translation.
            batch = pending() if pending else None
            self._launch(reader, work)
        self._settle()
        reader.close()

    def recover(self) -> None:
        """After an error: find out which batches in flight were applied, and count those."""
        self._must_check_ledger = True
        while self._in_flight:
            batch = self._in_flight[0]
            if batch.applied is None or not batch.reader.was_applied(batch.work):
                break
            self.on_applied(batch.work)
            self._in_flight.popleft()
        self._in_flight.clear()

    def _claim(self, reader: QueueReader, left: int) -> Callable[[], Batch | None] | None:
        return None if left <= 0 or self.should_stop() else reader.claim(self.pace.size)

    def _launch(self, reader: QueueReader, work: Work) -> None:
        """Start a batch: push to other servers first; if there are none, apply it on its own server at once."""
        self._apply_pushed()
        batch = InFlightBatch(reader=reader, work=work)
        home = self.connections.identity(work.batch.address)
        is_new = not (work.batch.resumed or self._must_check_ledger)
        for identity, groups in work.groups.items():
            if identity != home:
                server = self.connections.servers[identity]
                batch.pushes.append((server, server.push(groups, is_new=is_new)))
        self._in_flight.append(batch)
        if not batch.pushes:
            batch.applied = reader.apply(work)
        if self.is_limited or any(server.delivers for server, _ in batch.pushes):
            self._settle()
        else:
            self._await_applied(keep=2 if batch.pushes else 1)

    def _apply_pushed(self) -> None:
        for batch in self._in_flight:
            if batch.applied is None:
                batch.work.refused += sum(pushed() for _, pushed in batch.pushes)
                batch.applied = batch.reader.apply(batch.work)

    def _settle(self) -> None:
        """Wait until nothing is in flight."""
        self._apply_pushed()
        self._await_applied(keep=0)

    def _await_applied(self, *, keep: int) -> None:
        """Wait for the oldest batches until at most ``keep`` are in flight."""
        while len(self._in_flight) > keep:
            batch = self._in_flight[0]
            if batch.applied is None:
                return
            batch.applied()
            for server, _ in batch.pushes:
                server.deliver()
            self.pace.step(self.connections.pipelines())
            self.connections.keep_locks()
            self.on_applied(batch.work)
            self._in_flight.popleft()
