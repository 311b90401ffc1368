"""Empty one list: claim, translate, push, apply, with the server and the translation at work at the same time.

While a batch is translated here, the server carries out the one before and claims the one after. The claim on the
server is the truth: after any doubt (lost connection, lost answer) everything in memory is dropped and the claim is
read again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from migrator.brokers.redis.keys import LEDGER, LOCK, RedisQueue
from migrator.brokers.redis.pipeline import PendingReply, RedisPipeline
from migrator.transfer.batch import (
    Batch,
    Group,
    Item,
    Work,
    apply_request,
    item_copy,
    note_request,
    prepare,
    push_request,
)
from migrator.transfer.connections import Connections
from migrator.transfer.lock import LIFE_MS
from migrator.transfer.throttle import Pace
from migrator.translation.result import Translation, Translator, ledger_entry

#: A batch ends before this many bytes, or 25 messages later.
BATCH_BYTES = 4 << 20


@dataclass(slots=True, kw_only=True)
class InFlightBatch:
    """A batch under way: pushed, applied, not yet settled."""

    work: Work
    pushes: list[tuple[RedisPipeline, PendingReply]] = field(default_factory=list)
    applied: PendingReply | None = None


@dataclass(slots=True, kw_only=True)
class Mover:
    """Empties lists by one translation."""

    connections: Connections
    token: str
    stamp: str
    selects: Callable[[Translation], bool]
    #: Called with every batch that has been carried out.
    settled: Callable[[Work], None]
    #: Called before a batch is taken; a true answer ends the list.
    should_stop: Callable[[], bool]
    pace: Pace
    #: Batches under way; what is left here after an error is looked for in the claim.
    in_flight_batches: deque[InFlightBatch] = field(default_factory=deque)
    _claimed: int = 0
    #: Something went wrong before: messages may have reached another server already.
    _is_careful: bool = False

    def empty(self, source: RedisQueue, translate: Translator, *, limit: int | None = None) -> None:
        """Move what an interrupted run had claimed, then what the list holds, until it is seen empty.

        Args:
            source: The list.
            translate: The translation of its messages.
            limit: At most about so many from the list; None for all.

        Raises:
            redis.RedisError: The connection or a script failed; call :meth:`recover`, then this again.
        """
        lane = self.connections.lane(self.connections.identity(source.address))
        batches = self._leftovers(lane, source)
        self._claimed = sum(len(batch.items) for batch in batches)
        left, pending = limit, None
        while True:
            if pending is None and len(batches) < 2 and (left is None or left > 0):
                pending = None if self.should_stop() else self._claim(lane, source)
            if not batches:
                if pending is None:
                    break
                batches += self._claimed_batch(lane, source, pending)
                pending = None
                if not batches:
                    break
                left = None if left is None else left - len(batches[-1].items)
                continue
            work = prepare(self.connections, batches.popleft(), translate, self.selects)
            if pending is not None:
                # The server had the time of the translation for this answer.
                more = self._claimed_batch(lane, source, pending)
                pending = None
                left = 0 if not more else None if left is None else left - len(more[0].items)
                batches += more
            self._finish_pushes(lane)
            self._launch(lane, work)
            self._settle(lane, keep=2 if self.in_flight_batches[-1].pushes else 1)
        self._finish_pushes(lane)
        self._settle(lane, keep=0)

    def recover(self) -> None:
        """After an error: find out which batches under way were carried out, and count those."""
        self._is_careful = True
        self.connections.drop_pipelines()
        while self.in_flight_batches:
            work = self.in_flight_batches[0].work
            source = work.batch.source
            client = self.connections.servers[self.connections.identity(source.address)].client
            head = client.lindex(source.claim, 0)
            first = work.batch.items[0]
            if self.in_flight_batches[0].applied is None or head == (first[0] if source.bodies else first[1]):
                break
            self.settled(work)
            self.in_flight_batches.popleft()
        self.in_flight_batches.clear()

    def _leftovers(self, lane: RedisPipeline, source: RedisQueue) -> deque[Batch]:
        client = lane.server.client
        entries = client.lrange(source.claim, 0, -1)
        batches: deque[Batch] = deque()
        for start in range(0, len(entries), 200):
            part = entries[start : start + 200]
            bodies = client.hmget(source.bodies, part) if source.bodies else part
            items: list[Item] = list(zip(part if source.bodies else [b""] * len(part), bodies, strict=True))
            batches.append(Batch(source=source, items=items, resumed=True, arrived=self._arrived(source, items)))
        return batches

    def _arrived(self, source: RedisQueue, items: list[Item]) -> frozenset[str]:
        """Return the ledger entries of messages that an interrupted run had pushed to another server."""
        keys = [ledger_entry(source.address, item_copy(source, item)) for item in items]
        found: set[str] = set()
        for identity, server in self.connections.servers.items():
            if identity != self.connections.identity(source.address) and keys:
                hits: Any = server.client.hmget(LEDGER, [key.encode(errors="surrogateescape") for key in keys])
                found.update(key for key, hit in zip(keys, hits, strict=True) if hit is not None)
        return frozenset(found)

    def _claim(self, lane: RedisPipeline, source: RedisQueue) -> PendingReply:
        arguments = [self.token, LIFE_MS, self.pace.size, BATCH_BYTES]
        if source.bodies:
            return lane.send("claim_ids", [LOCK, source.list, source.bodies, source.claim], arguments)
        return lane.send("claim_list", [LOCK, source.list, source.claim], arguments)

    def _claimed_batch(self, lane: RedisPipeline, source: RedisQueue, pending: PendingReply) -> list[Batch]:
        answer = lane.result(pending)
        items: list[Item]
        if source.bodies:
            ids, bodies = answer
            items = list(zip(ids, bodies, strict=True))
        else:
            items = [(b"", raw) for raw in answer]
        self._claimed += len(items)
        return [Batch(source=source, items=items)] if items else []

    def _launch(self, lane: RedisPipeline, work: Work) -> None:
        """Send a batch on its way: first to other servers, else at once to its own."""
        in_flight_batch = InFlightBatch(work=work)
        home = self.connections.identity(work.batch.source.address)
        for identity, groups in work.groups.items():
            if identity == home:
                continue
            other = self.connections.lane(identity)
            in_flight_batch.pushes.append((other, self._push(other, groups, is_new=not work.batch.resumed)))
        self.in_flight_batches.append(in_flight_batch)
        if not in_flight_batch.pushes:
            self._apply(lane, in_flight_batch)

    def _push(self, other: RedisPipeline, groups: dict[str, Group], *, is_new: bool) -> PendingReply:
        request = note_request(groups, token=self.token, life_ms=LIFE_MS, stamp=self.stamp)
        if request is not None and is_new and not self._is_careful:
            pushes, keys, arguments = request
            return other.transact(pushes, "note", [LOCK, *keys], arguments)
        keys, arguments = push_request(groups, token=self.token, life_ms=LIFE_MS, stamp=self.stamp)
        return other.send("push", [LOCK, *keys], arguments)

    def _finish_pushes(self, lane: RedisPipeline) -> None:
        for in_flight_batch in self.in_flight_batches:
            if in_flight_batch.applied is None:
                for other, pending in in_flight_batch.pushes:
                    in_flight_batch.work.refused += len(other.result(pending))
                self._apply(lane, in_flight_batch)

    def _apply(self, lane: RedisPipeline, in_flight_batch: InFlightBatch) -> None:
        pushes, keys, arguments = apply_request(
            self.connections, in_flight_batch.work, claimed=self._claimed, token=self.token, life_ms=LIFE_MS
        )
        in_flight_batch.applied = lane.transact(pushes, "apply", [LOCK, *keys], arguments)
        self._claimed -= len(in_flight_batch.work.batch.items)

    def _settle(self, lane: RedisPipeline, *, keep: int) -> None:
        """Wait for the oldest batches until at most ``keep`` are under way."""
        while len(self.in_flight_batches) > keep:
            in_flight_batch = self.in_flight_batches[0]
            if in_flight_batch.applied is None:
                return
            lane.result(in_flight_batch.applied)
            self.pace.step(self.connections.lanes.values())
            self.connections.prolong(self.token)
            self.settled(in_flight_batch.work)
            self.in_flight_batches.popleft()


def claim_entries(connections: Connections, source: RedisQueue) -> int:
    """Return how many entries an interrupted run has left in the claim of a list."""
    length: Any = connections.servers[connections.identity(source.address)].client.llen(source.claim)
    return int(length)
