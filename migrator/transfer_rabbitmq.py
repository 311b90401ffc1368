"""Carry messages over where an endpoint is on RabbitMQ; the entry is :func:`migrator.transfer.transfer`.

What is guaranteed, as far as the servers themselves don't crash: whatever happens to this process or its connections,
no message is lost and none is doubled (:mod:`migrator.transfer_rabbitmq_mover` says how). A broker that crashes in the
middle of a transaction may have published the last batch and not yet acknowledged it; those come back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import redis

from migrator import brokers
from migrator.brokers.rabbitmq_private import public_copy
from migrator.brokers.rabbitmq_queues import Spot
from migrator.brokers.rabbitmq_server import CONNECTION_ERRORS, ERRORS, count, failure
from migrator.brokers.redis_server import CONNECTION_ERRORS as REDIS_CONNECTION_ERRORS
from migrator.brokers.redis_server import failure as redis_failure
from migrator.errors import RefusedError, UnreachableError
from migrator.events import Event, EventKind, Listener
from migrator.ledger import BatchCounts, Book
from migrator.message import System
from migrator.plan import Plan, Side
from migrator.report import Finding, Severity
from migrator.transfer import emptied_side, selection, visibility_limit_ms
from migrator.transfer_batch import Work
from migrator.transfer_kept import adopt, restore_kept, unpass
from migrator.transfer_lock import acquire, new_token, release
from migrator.transfer_options import Direction, ShouldStop, Tally, TransferOptions, TransferReport
from migrator.transfer_rabbitmq_hub import MixedHub, open_mixed_hub
from migrator.transfer_rabbitmq_mover import RabbitmqMover
from migrator.transfer_report import build_report
from migrator.transfer_report import count as count_work
from migrator.translate import Translator, backward, forward
from migrator.translation import Translation

_PROGRESS_EVERY_S = 0.2
_MAX_LOSSES = 100


def transfer_with_rabbitmq(
    plan: Plan, environ: Mapping[str, str], options: TransferOptions, listener: Listener, should_stop: ShouldStop
) -> TransferReport:
    """Move waiting messages between the legacy queues and the unified one; see :func:`migrator.transfer.transfer`."""
    mixed = open_mixed_hub(plan, environ)
    translations = _translators(plan, environ)
    try:
        _guard(mixed)
        if options.dry_run:
            from migrator.transfer_preview import preview

            return preview(mixed.whole, options, translations)
        token = new_token()
        acquire(mixed.redis.servers.values(), token, wait_s=options.lock_wait_s, takeover=options.takeover)
        try:
            with Book.open(plan.state_folder / "book.sqlite3") as book:
                run = _Run(
                    mixed=mixed,
                    options=options,
                    token=token,
                    book=book,
                    listener=listener,
                    should_stop=should_stop,
                    translations=translations,
                )
                return run.execute()
        finally:
            release(mixed.redis.servers.values(), token)
    finally:
        mixed.close()


def _translators(plan: Plan, environ: Mapping[str, str]) -> dict[tuple[Side, System], Translator]:
    now_ms, url = int(time.time() * 1000), brokers.endpoint_url(plan.unified, environ)
    found: dict[tuple[Side, System], Translator] = {
        (endpoint.side, endpoint.system): forward(plan, endpoint, unified_url=url, now_ms=now_ms)
        for endpoint in plan.legacy
    }
    found[Side.UNIFIED, System.CELERY] = backward(plan, now_ms=now_ms)
    return found


def _guard(mixed: MixedHub) -> None:
    for broker in mixed.whole.brokers.values():
        for finding in broker.facts().findings:
            if finding.severity is Severity.ERROR:
                raise RefusedError(finding.where, finding.what, found=finding.found, remedy=finding.remedy)


@dataclass(slots=True, kw_only=True)
class _Run:
    mixed: MixedHub
    options: TransferOptions
    token: str
    book: Book
    listener: Listener
    should_stop: ShouldStop
    translations: Mapping[tuple[Side, System], Translator]
    tally: Tally = field(default_factory=Tally)
    made: set[str] = field(default_factory=set)
    started_at: float = field(default_factory=time.monotonic)
    _told_at: float = 0.0

    def execute(self) -> TransferReport:
        """Do the whole run and return its report."""
        self.book.begin(self.options.direction.value, self.mixed.whole.plan.fingerprint)
        self._resilient(lambda: None, connect_first=True)
        side = emptied_side(self.options.direction)
        filtered = self._mover(selection(self.mixed.whole.plan, self.options))
        everything = self._mover(lambda translation: True)
        for owner in Side:
            self._resilient(lambda o=owner: self._finish(filtered if o is side else everything, o))  # type: ignore[misc]
        self._resilient(filtered.drain)
        other = Side.UNIFIED if side is Side.LEGACY else Side.LEGACY
        for restored in (other, *((side,) if self.options.retry_kept else ())):
            self._resilient(lambda r=restored: self._restore(r))  # type: ignore[misc]
        if self.options.owners_dead:
            lists = [source for source in self.mixed.sources(side) if self._wanted(source.place)]
            self.tally.adopted = adopt(self.mixed.redis, lists, self.token, silence_s=self.options.silence_s)
            self._resilient(lambda: self._refuse_consumers(side))
        self._resilient(lambda: self._empty(filtered, side))
        self._resilient(self.mixed.tidy)
        self._tell(final=True)
        self.made.update(*(lane.made for lane in self.mixed.lanes.values()))
        reports: list[TransferReport] = []
        self._resilient(
            lambda: reports.append(build_report(self.mixed.whole, self.options, self.tally, self.started_at))
        )
        report = reports[-1]
        self.book.finish(report.balance)
        return replace(report, findings=(*report.findings, *self._findings()))

    def _finish(self, mover: RabbitmqMover, side: Side) -> None:
        """Finish what an interrupted run had taken on one side, and put back what its filter had left out."""
        for source in self.mixed.sources(side):
            mover.empty_list(source, self._translator(source), leftovers_only=True)
            unpass(self.mixed.redis, source, self.token)
        for spot in self.mixed.spots(side):
            mover.empty_spot(spot, self._translator(spot), leftovers_only=True)
            self._move_back(spot, spot.passed)

    def _empty(self, mover: RabbitmqMover, side: Side) -> None:
        for source in self.mixed.sources(side):
            if self._wanted(source.place):
                mover.empty_list(source, self._translator(source))
                unpass(self.mixed.redis, source, self.token)
        for spot in self.mixed.spots(side):
            if self._wanted(spot.place):
                mover.empty_spot(spot, self._translator(spot))
                self._move_back(spot, spot.passed)

    def _restore(self, side: Side) -> None:
        self.tally.restored += restore_kept(self.mixed.redis, {side}, self.token)
        for spot in self.mixed.spots(side):
            self.tally.restored += self._move_back(spot, spot.kept)

    def _move_back(self, spot: Spot, queue: str) -> int:
        """Move all messages of one of our queues to the queue that they came from; return how many."""
        lane = self.mixed.lane(spot.place)
        if lane is None or count(lane.connection, queue) is None:
            return 0
        intake, moved = lane.intake(queue, self.options.batch_size), 0
        while batch := intake.take(self.options.batch_size):
            for message in batch:
                intake.publish(public_copy(message), lane.destination(spot.place))
            intake.commit()
            moved += len(batch)
        lane.close_intake(queue)
        return moved

    def _refuse_consumers(self, side: Side) -> None:
        """Wait until nobody consumes the queues that are emptied: what the dead had taken comes back by itself."""
        deadline = time.monotonic() + max(self.options.silence_s, 2.0)
        for spot in self.mixed.spots(side):
            lane = self.mixed.lane(spot.place)
            while lane is not None and self._wanted(spot.place):
                counted = count(lane.connection, spot.queue)
                if counted is None or not counted.consumers:
                    break
                if time.monotonic() > deadline:
                    raise RefusedError(
                        f"{lane.server.where} {spot.queue}",
                        "a worker is still alive and takes messages",
                        found=f"{counted.consumers} consumers",
                        remedy="stop the old workers, then run again",
                    )
                time.sleep(0.1)

    def _wanted(self, place: Any) -> bool:
        only_from = self.options.system if self.options.direction is Direction.FORWARD else None
        return (not self.options.queues or place.queue in self.options.queues) and only_from in (None, place.system)

    def _translator(self, source: Any) -> Translator:
        return self.translations[source.place.side, source.place.system]

    def _mover(self, selects: Callable[[Translation], bool]) -> RabbitmqMover:
        return RabbitmqMover(
            mixed=self.mixed,
            token=self.token,
            stamp=f"{int(time.time())}",
            selects=selects,
            settled=self._settled,
            should_stop=self._stop,
            size=self.options.batch_size,
        )

    def _resilient(self, action: Callable[[], None], *, connect_first: bool = False) -> None:
        """Run ``action``, again after each loss of a connection.

        Raises:
            UnreachableError: The connection stayed lost.
            RefusedError: A server refuses, or another run took over.
        """
        where = ", ".join(sorted({broker.where for broker in self.mixed.whole.brokers.values()}))
        wait_s, deadline, losses = self.options.lock_wait_s if connect_first else 5.0, 0.0, 0
        needed = connect_first
        while True:
            try:
                if needed:
                    self.mixed.drop_lanes(lost=True)
                    acquire(self.mixed.redis.servers.values(), self.token, wait_s=0, takeover=False)
                    self.mixed.connect(wait_s=wait_s)
                    needed, deadline = False, 0.0
                action()
                return
            except redis.RedisError as error:
                if not isinstance(error, REDIS_CONNECTION_ERRORS):
                    raise redis_failure(where, error) from error
                lost: Exception = error
            except (*ERRORS, UnreachableError) as error:
                if not isinstance(error, (*CONNECTION_ERRORS, UnreachableError)):
                    raise failure(where, error) from error
                lost = error
            losses += 1
            deadline = deadline or time.monotonic() + self.options.reconnect_s
            if connect_first or time.monotonic() > deadline or losses > _MAX_LOSSES:
                if isinstance(lost, UnreachableError):
                    raise lost
                raise (failure if isinstance(lost, ERRORS) else redis_failure)(where, lost) from lost
            self.tally.reconnects += 1
            needed = True
            time.sleep(0.2)

    def _settled(self, work: Work, arrived: int) -> None:
        count_work(self.tally, work, beyond_ms=visibility_limit_ms(self.mixed.whole.plan))
        self.tally.seen += arrived
        self.tally.already_there += arrived
        counts = BatchCounts(
            seen=len(work.batch.items) + arrived,
            published=len(work.carried) - work.refused,
            already_there=work.refused + arrived,
            kept=len(work.kept),
            passed=work.passed,
            without_body=work.without_body,
        )
        self.book.add(str(work.batch.source.place), work.carried, work.kept, counts)
        self._tell()

    def _stop(self) -> bool:
        if self.options.max_rate:
            ahead_s = self.tally.seen / self.options.max_rate - (time.monotonic() - self.started_at)
            if ahead_s > 0:
                time.sleep(min(ahead_s, 1.0))
        return self.should_stop()

    def _tell(self, *, final: bool = False) -> None:
        now = time.monotonic()
        if not final and now - self._told_at < _PROGRESS_EVERY_S:
            return
        self._told_at = now
        elapsed_s = now - self.started_at
        rate = self.tally.seen / elapsed_s if elapsed_s else 0.0
        text = f"{self.tally.moved} moved, {self.tally.kept} kept back, {rate:,.0f} a second"
        kind = EventKind.PROGRESS
        self.listener(Event(kind=kind, step="transfer", text=text, done=self.tally.seen, elapsed_s=elapsed_s))

    def _findings(self) -> list[Finding]:
        if not self.made:
            return []
        return [
            Finding(
                code="TRANSFER-QUEUE-MADE",
                severity=Severity.WARNING,
                where=", ".join(sorted(self.made)),
                what="the queue was missing and was declared with its system's default arguments",
                found=f"{len(self.made)} queues",
                remedy="if workers are refused with 406, delete it while it is empty and let them declare it",
            )
        ]
