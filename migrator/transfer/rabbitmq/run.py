"""Move messages where an endpoint is on RabbitMQ; the entry point is :func:`migrator.transfer.transfer.transfer`.

What is guaranteed: whatever happens to this process or its connections, no message is lost and none is doubled
(:mod:`migrator.transfer.rabbitmq.mover` says how). RabbitMQ writes acknowledgements to disk a moment after it has
accepted them, so a broker that crashes redelivers messages that were moved already. The current run recognises them
(:mod:`migrator.transfer.rabbitmq.dedup_window`); if this process dies together with the broker, the next run does
(:mod:`migrator.transfer.rabbitmq.dedup_log`). What is not guaranteed: if this machine and the broker's lose power
together, messages of the last moments can be doubled; of each queue at most those whose acknowledgements the broker had
not yet written (its journal holds 32,768 of them).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from migrator.brokers.rabbitmq.queues import RabbitQueue
from migrator.brokers.rabbitmq.server import count
from migrator.brokers.rabbitmq.staging_headers import public_copy
from migrator.errors import RefusedError
from migrator.events import Listener
from migrator.plan.model import Plan
from migrator.plan.placeholders import endpoint_url
from migrator.report import Severity
from migrator.transfer.batch import Work
from migrator.transfer.delayed import release_parked
from migrator.transfer.dry_run import preview
from migrator.transfer.ledger import BatchCounts, Ledger
from migrator.transfer.lock import acquire, new_token, release
from migrator.transfer.options import Direction, ShouldStop, Tally, TransferOptions, TransferReport
from migrator.transfer.progress import ProgressReporter
from migrator.transfer.rabbitmq.connections import MixedConnections, open_mixed_connections
from migrator.transfer.rabbitmq.findings import with_findings
from migrator.transfer.rabbitmq.mover import RabbitmqMover
from migrator.transfer.rabbitmq.reconnect import FirstConnection, keep_trying
from migrator.transfer.report import build_report
from migrator.transfer.report import count as count_work
from migrator.transfer.restore import reclaim, restore_filtered, restore_quarantined
from migrator.transfer.selection import emptied_side, selection, translators
from migrator.transfer.throttle import Limit
from migrator.translation.result import Translation, Translator
from migrator.wire.message import Side, System

_FOLLOW_EVERY_S = 0.5


def transfer_with_rabbitmq(
    plan: Plan, environ: Mapping[str, str], options: TransferOptions, listener: Listener, should_stop: ShouldStop
) -> TransferReport:
    """Move waiting messages where an endpoint is on RabbitMQ; see :func:`migrator.transfer.transfer.transfer`."""
    mixed = open_mixed_connections(plan, environ)
    try:
        _guard(mixed)
        mixed.allow_parking(options)
        if options.dry_run:
            translations = translators(mixed.whole, unified_url=endpoint_url(plan.unified, environ))
            return with_findings(preview(mixed.with_consumer_timeout(), options, translations), mixed, ())
        token = new_token()
        acquire(mixed.redis.servers.values(), token, wait_s=options.lock_wait_s, takeover=options.takeover)
        try:
            with Ledger.open(plan.state_folder / "book.sqlite3") as book:
                run = RabbitmqRun(
                    mixed=mixed,
                    options=options,
                    token=token,
                    book=book,
                    listener=listener,
                    should_stop=should_stop,
                    unified_url=endpoint_url(plan.unified, environ),
                )
                return run.execute()
        finally:
            release(mixed.redis.servers.values(), token)
    finally:
        mixed.close()


def _guard(mixed: MixedConnections) -> None:
    for broker in mixed.whole.brokers.values():
        facts = broker.facts()
        if broker.endpoint.side is Side.UNIFIED and facts.visibility_timeout_s:
            mixed.consumer_timeout_s = facts.visibility_timeout_s
        for finding in facts.findings:
            if finding.severity is Severity.ERROR:
                raise RefusedError(finding.where, finding.what, found=finding.found, remedy=finding.remedy)


@dataclass(slots=True, kw_only=True)
class RabbitmqRun:
    mixed: MixedConnections
    options: TransferOptions
    token: str
    book: Ledger
    listener: Listener
    should_stop: ShouldStop
    unified_url: str
    tally: Tally = field(default_factory=Tally)
    created_queues: set[str] = field(default_factory=set)
    started_at: float = field(default_factory=time.monotonic)
    translations: Mapping[tuple[Side, System], Translator] = field(init=False)
    limit: Limit = field(init=False)
    progress: ProgressReporter = field(init=False)

    def __post_init__(self) -> None:
        self.translations = translators(self.mixed.whole, unified_url=self.unified_url)
        self.limit = Limit(rate=self.options.max_rate)
        self.progress = ProgressReporter(
            listener=self.listener, tally=self.tally, follow=self.options.follow, started_at=self.started_at
        )

    def execute(self) -> TransferReport:
        """Execute the whole run and return its report."""
        self.book.begin(self.options.direction.value, self.mixed.whole.plan.fingerprint)
        self._resilient(lambda: None, connect_first=True)
        side = emptied_side(self.options.direction)
        filtered = self._mover(selection(self.mixed.whole.plan, self.options))
        self._prepare(filtered, side)
        self._sweep(filtered, side)
        if self.options.follow:
            self.progress.announce_follow()
        while self.options.follow and not self.should_stop():
            self._idle(side)
            self._sweep(filtered, side)
        self._resilient(self.mixed.tidy)
        self.progress.report(final=True)
        self.created_queues.update(*(session.created for session in self.mixed.sessions.values()))
        reports: list[TransferReport] = []
        self._resilient(
            lambda: reports.append(build_report(self.mixed.whole, self.options, self.tally, self.started_at))
        )
        self.book.finish(reports[-1].balance)
        return with_findings(reports[-1], self.mixed, self.created_queues)

    def _prepare(self, filtered: RabbitmqMover, side: Side) -> None:
        """Finish what an interrupted run had taken; put back what belongs in the queues."""
        unfiltered = self._mover(lambda translation: True)
        self._resilient(lambda: self.mixed.keep_locks(self.token))
        for owner in Side:
            self._resilient(lambda o=owner: self._finish(filtered if o is side else unfiltered, o))  # type: ignore[misc]
        self._resilient(filtered.drain)
        other = Side.UNIFIED if side is Side.LEGACY else Side.LEGACY
        for restored in (other, *((side,) if self.options.retry_quarantined else ())):
            self._resilient(lambda r=restored: self._restore(r))  # type: ignore[misc]
        if self.options.consumers_stopped:
            lists = [redis_queue for redis_queue in self.mixed.redis_queues(side) if self._wanted(redis_queue.address)]
            self.tally.reclaimed = reclaim(self.mixed.redis, lists, self.token, silence_s=self.options.silence_s)
            self._resilient(lambda: self._refuse_consumers(side))
        self._release(everything=side is Side.UNIFIED)

    def _release(self, *, everything: bool) -> None:
        """Put parked messages into the unified queue, where that is on Redis."""
        if self.mixed.parks:
            self.tally.released += release_parked(self.mixed.whole, everything=everything)

    def _idle(self, side: Side) -> None:
        """Wait a moment before the next sweep."""
        self.book.flush()
        time.sleep(_FOLLOW_EVERY_S)
        self._resilient(lambda: self.mixed.keep_locks(self.token))
        self.mixed.allow_parking(self.options)
        self.translations = translators(self.mixed.whole, unified_url=self.unified_url)
        if side is Side.LEGACY:
            self._release(everything=False)

    def _finish(self, mover: RabbitmqMover, side: Side) -> None:
        """Finish what an interrupted run had taken on one side, and put back what it had filtered out."""
        for redis_queue in self.mixed.redis_queues(side):
            mover.empty_list(redis_queue, self._translator(redis_queue), leftovers_only=True)
            restore_filtered(self.mixed.redis, redis_queue, self.token)
        for rabbit_queue in self.mixed.rabbit_queues(side):
            mover.empty_queue(rabbit_queue, self._translator(rabbit_queue), leftovers_only=True)
            self._move_back(rabbit_queue, rabbit_queue.filtered_out)

    def _sweep(self, mover: RabbitmqMover, side: Side) -> None:
        """Empty every queue once."""
        self._resilient(lambda: self.progress.expect(sum(self._waiting(side))))
        self._resilient(lambda: self._empty(mover, side))

    def _empty(self, mover: RabbitmqMover, side: Side) -> None:
        # After a lost connection: what has arrived elsewhere may only go on once it is deleted here.
        self._finish(mover, side)
        mover.drain()
        for redis_queue in self.mixed.redis_queues(side):
            if self._wanted(redis_queue.address):
                mover.empty_list(redis_queue, self._translator(redis_queue))
                restore_filtered(self.mixed.redis, redis_queue, self.token)
        for rabbit_queue in self.mixed.rabbit_queues(side):
            if self._wanted(rabbit_queue.address):
                mover.empty_queue(rabbit_queue, self._translator(rabbit_queue))
                self._move_back(rabbit_queue, rabbit_queue.filtered_out)
        mover.finish()

    def _waiting(self, side: Side) -> Iterator[int]:
        """Yield how many messages wait in each queue that is emptied."""
        for redis_queue in filter(lambda redis_queue: self._wanted(redis_queue.address), self.mixed.redis_queues(side)):
            server = self.mixed.redis.servers[self.mixed.redis.identity(redis_queue.address)]
            yield int(server.client.llen(redis_queue.list))
        for rabbit_queue in filter(
            lambda rabbit_queue: self._wanted(rabbit_queue.address), self.mixed.rabbit_queues(side)
        ):
            session = self.mixed.session(rabbit_queue.address)
            counted = None if session is None else count(session.connection, rabbit_queue.queue)
            yield counted.ready if counted else 0

    def _restore(self, side: Side) -> None:
        self.tally.restored += restore_quarantined(self.mixed.redis, {side}, self.token)
        for rabbit_queue in self.mixed.rabbit_queues(side):
            self.tally.restored += self._move_back(rabbit_queue, rabbit_queue.quarantined)

    def _move_back(self, rabbit_queue: RabbitQueue, queue: str) -> int:
        """Move all messages of one of our queues to the queue that they came from; return how many."""
        session = self.mixed.session(rabbit_queue.address)
        if session is None or count(session.connection, queue) is None:
            return 0
        consumer, moved = session.consumer(queue, self.options.batch_size), 0
        while batch := consumer.take(self.options.batch_size):
            for message in batch:
                consumer.publish(public_copy(message), session.destination(rabbit_queue.address), origin=message)
            consumer.commit(wait=False)
            moved += len(batch)
            self.mixed.keep_locks(self.token)
        session.close_consumer(queue)
        return moved

    def _refuse_consumers(self, side: Side) -> None:
        """Wait until nobody consumes the queues to be emptied: the server requeues what stopped workers held."""
        deadline = time.monotonic() + max(self.options.silence_s, 2.0)
        for rabbit_queue in self.mixed.rabbit_queues(side):
            session = self.mixed.session(rabbit_queue.address)
            while session is not None and self._wanted(rabbit_queue.address):
                counted = count(session.connection, rabbit_queue.queue)
                if counted is None or not counted.consumers:
                    break
                if time.monotonic() > deadline:
                    raise RefusedError(
                        f"{session.server.where} {rabbit_queue.queue}",
                        "a worker is still alive and consumes messages",
                        found=f"{counted.consumers} consumers",
                        remedy="stop the old workers, then run again",
                    )
                time.sleep(0.1)

    def _wanted(self, address: Any) -> bool:
        only_from = self.options.system if self.options.direction is Direction.FORWARD else None
        return (not self.options.queues or address.queue in self.options.queues) and only_from in (None, address.system)

    def _translator(self, redis_queue: Any) -> Translator:
        return self.translations[redis_queue.address.side, redis_queue.address.system]

    def _mover(self, selects: Callable[[Translation], bool]) -> RabbitmqMover:
        def stop() -> bool:
            return self.limit.wait(
                self.tally.handled, should_stop=self.should_stop, keep_alive=lambda: self.mixed.keep_locks(self.token)
            )

        return RabbitmqMover(
            mixed=self.mixed,
            token=self.token,
            stamp=f"{int(time.time())}",
            selects=selects,
            on_applied=self._record_batch,
            should_stop=stop,
            size=self.limit.most(self.options.batch_size),
        )

    def _resilient(self, action: Callable[[], None], *, connect_first: bool = False) -> None:
        first = (
            FirstConnection(wait_s=self.options.lock_wait_s, takeover=self.options.takeover) if connect_first else None
        )
        self.tally.reconnects += keep_trying(
            self.mixed, action, token=self.token, limit_s=self.options.reconnect_s, first=first
        )

    def _record_batch(self, work: Work, arrived: int) -> None:
        count_work(self.tally, work, beyond_ms=self.mixed.too_late_ms())
        self.tally.seen += arrived
        self.tally.already_there += arrived
        counts = BatchCounts(
            seen=len(work.batch.items) + arrived,
            published=len(work.translated) - work.refused,
            already_there=work.refused + arrived,
            quarantined=len(work.quarantined),
            filtered_out=work.filtered_out,
            without_body=work.without_body,
        )
        self.book.add(str(work.batch.queue.address), work.translated, work.quarantined, counts)
        self.progress.report()
