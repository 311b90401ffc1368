"""Move queued messages forward or back; none is lost or doubled, even if the run is killed at any moment.

The order on every server: claim, translate, push to other servers with a ledger entry, apply on the claiming server
(copies first, then deletions) in one step (:mod:`migrator.transfer.ports`). Each step checks the lock. The next run
first finishes what an interrupted run had claimed, in the direction of that run, and then does what it was asked to do.

RabbitMQ writes acknowledgements to disk a moment after it has accepted them, so a broker that crashes redelivers
messages that were moved already. The current run recognises them (:mod:`migrator.transfer.rabbitmq.dedup_window`); if
this process dies together with the broker, the next run does (:mod:`migrator.transfer.rabbitmq.dedup_log`). What is not
guaranteed: if this machine and the broker's lose power together, messages of the last moments can be doubled; of each
queue at most those whose acknowledgements the broker had not yet written (its journal holds 32,768 of them).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from migrator.events import Listener
from migrator.transfer.batch import Work, select_all
from migrator.transfer.connections import Connections
from migrator.transfer.conservation import Flow, Stock, require_all, take_stock
from migrator.transfer.ledger import BatchCounts, Ledger
from migrator.transfer.mover import Mover
from migrator.transfer.options import ShouldStop, Tally, TransferOptions, TransferReport
from migrator.transfer.ports import QueueReader
from migrator.transfer.progress import ProgressReporter
from migrator.transfer.reconnect import keep_trying
from migrator.transfer.report import build_report, count
from migrator.transfer.selection import emptied_side, is_selected, selection, translators
from migrator.transfer.throttle import LARGEST, Limit, Pace, most
from migrator.translation.result import Translator
from migrator.wire.message import Side, System

_FOLLOW_EVERY_S = 0.25


@dataclass(slots=True, kw_only=True)
class Run:
    """One run, with every lock taken."""

    connections: Connections
    options: TransferOptions
    book: Ledger
    listener: Listener
    should_stop: ShouldStop
    tally: Tally = field(default_factory=Tally)
    started_at: float = field(default_factory=time.monotonic)
    translations: dict[tuple[Side, System], Translator] = field(init=False)
    limit: Limit = field(init=False)
    progress: ProgressReporter = field(init=False)
    mover: Mover = field(init=False)
    #: What moves after the stock was taken.
    flow: Flow = field(init=False)

    def __post_init__(self) -> None:
        self.limit = Limit(rate=self.options.max_rate)
        self.progress = ProgressReporter(
            listener=self.listener, tally=self.tally, follow=self.options.follow, started_at=self.started_at
        )
        largest = self.options.batch_size
        if len(self.connections.redis_homes) == len(self.connections.servers):
            largest = min(largest, LARGEST)
        self.mover = Mover(
            connections=self.connections,
            on_applied=self._record_batch,
            should_stop=self._stop,
            pace=Pace(most=self.limit.most(largest)),
            is_limited=self.options.max_rate is not None,
        )
        self.translations = translators(self.connections)
        self.flow = self._new_flow()

    def _new_flow(self) -> Flow:
        # Every release puts parked messages into the first queue.
        return Flow(self.connections.plan.unified.queues[0])

    def execute(self) -> TransferReport:
        """Execute the whole run and return its report."""
        self.book.begin(self.options.direction.value, self.connections.plan.fingerprint)
        self.connections.leave_marks(self.book)
        self._prepare()
        stock = take_stock(self.connections, self._try)
        self.flow = self._new_flow()
        self._sweep()
        if self.options.follow:
            self.progress.announce_follow()
        while self.options.follow and not self.should_stop():
            self._idle()
            self._sweep()
        self._try(self._tidy)
        self.progress.report(final=True)
        reports: list[TransferReport] = []
        self._try(lambda: reports.append(build_report(self.connections, self.options, self.tally, self.started_at)))
        self._try(self.connections.recall)
        self.connections.remember(self.book)
        self.book.finish(reports[-1].balance)
        if not self.options.follow:
            # A bridge outlives those who consume what it brings.
            self._require_all(stock)
        return reports[-1]

    def _require_all(self, before: Stock) -> None:
        require_all(
            self.flow,
            before,
            lambda: take_stock(self.connections, self._try),
            exactly=not self.tally.reconnects,
            remedy=self.connections.remedy_if_forgotten,
        )

    def _prepare(self) -> None:
        """Finish what an interrupted run had claimed; put back what belongs in the queues."""
        side = emptied_side(self.options.direction)
        self._try(self._finish_claims)
        other = Side.UNIFIED if side is Side.LEGACY else Side.LEGACY
        for restored in (other, *((side,) if self.options.retry_quarantined else ())):
            self._try(lambda r=restored: self._restore_quarantined(r))  # type: ignore[misc]
        self._try(lambda: self._release_parked(everything=side is Side.UNIFIED))
        if self.options.consumers_stopped:
            self._try(lambda: self._reclaim(side))

    def _finish_claims(self) -> None:
        """Finish what an interrupted run had claimed, on both sides; only then may go on what has arrived elsewhere."""
        selects = selection(self.connections.plan, self.options)
        for side in Side:
            mine = side is emptied_side(self.options.direction)
            for reader in self.connections.readers(side):
                self.mover.finish(reader, self._translator(reader), selects if mine else select_all)
                reader.restore_filtered()
        for server in self.connections.servers.values():
            server.deliver()

    def _restore_quarantined(self, side: Side) -> None:
        for endpoint in self.connections.endpoints(side):
            self.tally.restored += self.connections.server_of(endpoint).restore_quarantined(endpoint)

    def _release_parked(self, *, everything: bool) -> None:
        self.tally.released += self.connections.release_parked(everything=everything)

    def _reclaim(self, side: Side) -> None:
        """Take what stopped workers had claimed."""
        for endpoint in self.connections.endpoints(side):
            wanted = {
                reader.address.queue
                for reader in self._wanted()
                if (reader.address.side, reader.address.system) == (endpoint.side, endpoint.system)
            }
            if wanted:
                server = self.connections.server_of(endpoint)
                self.tally.reclaimed += server.reclaim(endpoint, wanted, silence_s=self.options.silence_s)

    def _wanted(self) -> list[QueueReader]:
        """Return the queues that are emptied."""
        readers = self.connections.readers(emptied_side(self.options.direction))
        return [reader for reader in readers if is_selected(self.options, reader.address)]

    def _sweep(self) -> None:
        """Empty every queue once."""
        readers, waiting = self._wanted(), dict[int, int]()
        self._try(lambda: waiting.update((id(reader), reader.waiting()) for reader in readers))
        self.progress.expect(sum(waiting.values()))
        for reader in readers:
            self._try(lambda r=reader: self._empty(r, most(waiting[id(r)])))  # type: ignore[misc]

    def _empty(self, reader: QueueReader, limit: int) -> None:
        selects = selection(self.connections.plan, self.options)
        self.mover.empty(reader, self._translator(reader), selects, limit=limit)
        reader.restore_filtered()

    def _idle(self) -> None:
        """Wait a moment before the next sweep, and keep the locks."""
        self.book.flush()
        time.sleep(_FOLLOW_EVERY_S)
        self._try(lambda: self.connections.keep_locks(at_once=True))
        self.connections.allow_parking(parks=self.options.park)
        self.translations = translators(self.connections)
        if emptied_side(self.options.direction) is Side.LEGACY:
            self._try(lambda: self._release_parked(everything=False))

    def _tidy(self) -> None:
        for server in self.connections.servers.values():
            server.tidy()

    def _translator(self, reader: QueueReader) -> Translator:
        return self.translations[reader.address.side, reader.address.system]

    def _stop(self) -> bool:
        return self.limit.wait(self.tally.handled, should_stop=self.should_stop, keep_alive=self.connections.keep_locks)

    def _try(self, action: Callable[[], None]) -> None:
        def recover() -> None:
            self.mover.recover()
            self._finish_claims()

        self.tally.reconnects += keep_trying(self.connections, action, recover, limit_s=self.options.reconnect_s)

    def _record_batch(self, work: Work) -> None:
        self.flow.record(work)
        count(self.tally, work, beyond_ms=self.connections.too_late_ms())
        counts = BatchCounts(
            seen=len(work.batch.items),
            published=len(work.translated) - work.refused,
            already_there=work.refused + work.arrived,
            quarantined=len(work.quarantined),
            filtered_out=len(work.filtered),
            without_body=work.without_body,
        )
        address = str(work.batch.address)
        quarantined = [(identity.decode(errors="surrogateescape"), back) for (identity, _), back in work.quarantined]
        self.connections.remember(self.book)
        self.book.add(address, work.translated, quarantined, counts)
        if work.without_body:
            gone = [name.decode(errors="surrogateescape") for name, raw in work.batch.items if raw is None]
            self.book.add_gone(address, gone)
        self.progress.report()
