"""Move queued messages forward or back on Redis; none is lost or doubled, even if the run is killed at any moment.

The order on every server: claim (into a private list), translate, push to other servers with a ledger entry, apply on
the claiming server (copies first, then deletions) in one script. Each script checks the lock. The next run first
finishes what an interrupted run had claimed, in the direction of that run, and then does what it was asked to do.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from migrator.brokers.redis.keys import RedisQueue
from migrator.events import Listener
from migrator.transfer.batch import Work
from migrator.transfer.connections import Connections
from migrator.transfer.delayed import park_after_ms, release_lead_ms, release_parked
from migrator.transfer.dry_run import preview
from migrator.transfer.ledger import BatchCounts, Ledger
from migrator.transfer.lock import acquire, new_token, release
from migrator.transfer.options import ShouldStop, Tally, TransferOptions, TransferReport
from migrator.transfer.preconditions import guard
from migrator.transfer.progress import ProgressReporter
from migrator.transfer.redis.mover import Mover, claim_entries
from migrator.transfer.redis.reconnect import keep_lock, keep_trying
from migrator.transfer.report import build_report, count
from migrator.transfer.restore import reclaim, restore_filtered, restore_quarantined
from migrator.transfer.selection import emptied_side, selected_queues, selection, translators
from migrator.transfer.throttle import LARGEST, Limit, Pace
from migrator.translation.result import Translation, Translator
from migrator.wire.message import Side, System

_FOLLOW_EVERY_S = 0.25


def transfer_on_redis(
    connections: Connections, options: TransferOptions, listener: Listener, should_stop: ShouldStop
) -> TransferReport:
    """Move waiting messages between queues on Redis; see :func:`migrator.transfer.transfer.transfer`."""
    try:
        guard(connections, options)
        _allow_parking(connections, options)
        if options.dry_run:
            return preview(connections, options, translators(connections))
        token = new_token()
        acquire(connections.servers.values(), token, wait_s=options.lock_wait_s, takeover=options.takeover)
        try:
            with Ledger.open(connections.plan.state_folder / "book.sqlite3") as book:
                run = RedisRun(connections=connections, options=options, token=token, book=book, listener=listener)
                return run.execute(should_stop)
        finally:
            connections.drop_pipelines()
            release(connections.servers.values(), token)
    finally:
        connections.close()


def _allow_parking(connections: Connections, options: TransferOptions) -> None:
    connections.park_after_ms = park_after_ms(connections.plan, connections.now_ms()) if options.park else None
    connections.release_lead_ms = release_lead_ms(connections.plan)


@dataclass(slots=True, kw_only=True)
class RedisRun:
    connections: Connections
    options: TransferOptions
    token: str
    book: Ledger
    listener: Listener
    tally: Tally = field(default_factory=Tally)
    started_at: float = field(default_factory=time.monotonic)
    limit: Limit = field(init=False)
    progress: ProgressReporter = field(init=False)

    def __post_init__(self) -> None:
        self.limit = Limit(rate=self.options.max_rate)
        self.progress = ProgressReporter(
            listener=self.listener, tally=self.tally, follow=self.options.follow, started_at=self.started_at
        )

    def execute(self, should_stop: ShouldStop) -> TransferReport:
        """Execute the whole run and return its report."""
        self.book.begin(self.options.direction.value, self.connections.plan.fingerprint)
        filtered = self._mover(selection(self.connections.plan, self.options), should_stop)
        self._prepare(filtered, should_stop)
        self._sweep(filtered)
        if self.options.follow:
            self.progress.announce_follow()
        while self.options.follow and not should_stop():
            self._idle()
            self._sweep(filtered)
        self.progress.report(final=True)
        report = build_report(self.connections, self.options, self.tally, self.started_at)
        self.book.finish(report.balance)
        return report

    def _prepare(self, filtered: Mover, should_stop: ShouldStop) -> None:
        """Finish what an interrupted run had claimed; put back what belongs in the queues."""
        side, translations = emptied_side(self.options.direction), translators(self.connections)
        unfiltered = self._mover(lambda translation: True, should_stop)
        for queue in self.connections.redis_queues(Side.LEGACY) + self.connections.redis_queues(Side.UNIFIED):
            mover = filtered if queue.address.side is side else unfiltered
            self._try(mover, lambda m=mover, s=queue: self._finish_claim(m, s, translations))  # type: ignore[misc]
            restore_filtered(self.connections, queue, self.token)
        restored_sides = {Side.UNIFIED if side is Side.LEGACY else Side.LEGACY}
        restored_sides |= {side} if self.options.retry_quarantined else set()
        self.tally.restored = restore_quarantined(self.connections, restored_sides, self.token)
        self.tally.released += release_parked(self.connections, everything=side is Side.UNIFIED)
        if self.options.consumers_stopped:
            wanted = selected_queues(self.connections, self.options)
            self.tally.reclaimed = reclaim(self.connections, wanted, self.token, silence_s=self.options.silence_s)

    def _sweep(self, mover: Mover) -> None:
        """Empty every queue once."""
        wanted, translations = selected_queues(self.connections, self.options), translators(self.connections)
        waiting = {queue.list: self._waiting(queue) for queue in wanted}
        self.progress.expect(sum(waiting.values()))
        for queue in wanted:
            translate = translations[queue.address.side, queue.address.system]
            # A producer that is faster than we are must not keep us here for ever.
            limit = waiting[queue.list] * 2 + 10_000
            self._try(mover, lambda s=queue, t=translate, n=limit: mover.empty(s, t, limit=n))  # type: ignore[misc]
            restore_filtered(self.connections, queue, self.token)

    def _idle(self) -> None:
        """Wait a moment before the next sweep, and extend the lock."""
        self.book.flush()
        time.sleep(_FOLLOW_EVERY_S)
        _allow_parking(self.connections, self.options)
        mover = self._mover(lambda translation: True, lambda: True)
        self._try(mover, lambda: keep_lock(self.connections, self.token))
        if emptied_side(self.options.direction) is Side.LEGACY:
            self.tally.released += release_parked(self.connections)

    def _mover(self, selects: Callable[[Translation], bool], should_stop: ShouldStop) -> Mover:
        def stop() -> bool:
            return self.limit.wait(
                self.tally.handled, should_stop=should_stop, keep_alive=lambda: self.connections.prolong(self.token)
            )

        return Mover(
            connections=self.connections,
            token=self.token,
            stamp=f"{int(time.time())}",
            selects=selects,
            on_applied=self._record_batch,
            should_stop=stop,
            pace=Pace(most=self.limit.most(min(self.options.batch_size, LARGEST))),
        )

    def _finish_claim(
        self, mover: Mover, queue: RedisQueue, translations: dict[tuple[Side, System], Translator]
    ) -> None:
        if claim_entries(self.connections, queue):
            mover.empty(queue, translations[queue.address.side, queue.address.system], limit=0)

    def _try(self, mover: Mover, action: Callable[[], None]) -> None:
        self.tally.reconnects += keep_trying(
            self.connections, mover, action, token=self.token, limit_s=self.options.reconnect_s
        )

    def _waiting(self, queue: RedisQueue) -> int:
        server = self.connections.servers[self.connections.identity(queue.address)]
        with server.translated():
            return int(server.client.llen(queue.list))

    def _record_batch(self, work: Work) -> None:
        count(self.tally, work, beyond_ms=math.inf)
        counts = BatchCounts(
            seen=len(work.batch.items),
            published=len(work.translated) - work.refused,
            already_there=work.refused + work.arrived,
            quarantined=len(work.quarantined),
            filtered_out=work.filtered_out,
            without_body=work.without_body,
        )
        self.book.add(str(work.batch.queue.address), work.translated, work.quarantined, counts)
        if work.without_body:
            gone = [name.decode(errors="surrogateescape") for name, raw in work.batch.items if raw is None]
            self.book.add_gone(str(work.batch.queue.address), gone)
        self.progress.report()
