"""Empty one Redis queue: claim, translate, push and apply, with the server and the translation working in parallel.

While a batch is translated here, the server applies the batch before and claims the batch after. The claim on the
server is authoritative: after any doubt (lost connection, lost answer) everything in memory is dropped and the claim
is read again.
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
    """A batch in flight: being pushed or applied, not yet counted."""

    work: Work
    pushes: list[tuple[RedisPipeline, PendingReply]] = field(default_factory=list)
    applied: PendingReply | None = None


@dataclass(slots=True, kw_only=True)
class Mover:
    """Empties Redis queues."""

    connections: Connections
    token: str
    stamp: str
    selects: Callable[[Translation], bool]
    #: Called with every batch that has been applied.
    on_applied: Callable[[Work], None]
    #: Called before a batch is claimed; a true result ends the queue.
    should_stop: Callable[[], bool]
    pace: Pace
    #: After an error, the outcome of what is left here is looked up in the claim.
    in_flight_batches: deque[InFlightBatch] = field(default_factory=deque)
    _claimed: int = 0
    #: After an error: messages may have reached another server already.
    _must_check_ledger: bool = False

    def empty(self, queue: RedisQueue, translate: Translator, *, limit: int | None = None) -> None:
        """Move what an interrupted run had claimed, then what the queue holds, until it is found empty.

        Args:
            queue: The queue.
            translate: The translation of its messages.
            limit: At most about this many from the queue; None for all.

        Raises:
            redis.RedisError: The connection or a script failed; call :meth:`recover`, then this again.
        """
        pipeline = self.connections.pipeline(self.connections.identity(queue.address))
        batches = self._leftovers(pipeline, queue)
        self._claimed = sum(len(batch.items) for batch in batches)
        left, pending = limit, None
        while True:
            if pending is None and len(batches) < 2 and (left is None or left > 0):
                pending = None if self.should_stop() else self._claim(pipeline, queue)
            if not batches:
                if pending is None:
                    break
                batches += self._claimed_batch(pipeline, queue, pending)
                pending = None
                if not batches:
                    break
                left = None if left is None else left - len(batches[-1].items)
                continue
            work = prepare(self.connections, batches.popleft(), translate, self.selects)
            if pending is not None:
                # The server has prepared this answer during the translation.
                more = self._claimed_batch(pipeline, queue, pending)
                pending = None
                left = 0 if not more else None if left is None else left - len(more[0].items)
                batches += more
            self._finish_pushes(pipeline)
            self._launch(pipeline, work)
            self._await_applied(pipeline, keep=2 if self.in_flight_batches[-1].pushes else 1)
        self._finish_pushes(pipeline)
        self._await_applied(pipeline, keep=0)

    def recover(self) -> None:
        """After an error: find out which batches in flight were applied, and count those."""
        self._must_check_ledger = True
        self.connections.drop_pipelines()
        while self.in_flight_batches:
            work = self.in_flight_batches[0].work
            queue = work.batch.queue
            client = self.connections.servers[self.connections.identity(queue.address)].client
            head = client.lindex(queue.claim, 0)
            first = work.batch.items[0]
            if self.in_flight_batches[0].applied is None or head == (first[0] if queue.bodies else first[1]):
                break
            self.on_applied(work)
            self.in_flight_batches.popleft()
        self.in_flight_batches.clear()

    def _leftovers(self, pipeline: RedisPipeline, queue: RedisQueue) -> deque[Batch]:
        client = pipeline.server.client
        entries = client.lrange(queue.claim, 0, -1)
        batches: deque[Batch] = deque()
        for start in range(0, len(entries), 200):
            part = entries[start : start + 200]
            bodies = client.hmget(queue.bodies, part) if queue.bodies else part
            items: list[Item] = list(zip(part if queue.bodies else [b""] * len(part), bodies, strict=True))
            batches.append(Batch(queue=queue, items=items, resumed=True, arrived=self._arrived(queue, items)))
        return batches

    def _arrived(self, queue: RedisQueue, items: list[Item]) -> frozenset[str]:
        """Return the ledger entries of messages that an interrupted run had pushed to another server."""
        keys = [ledger_entry(queue.address, item_copy(queue, item)) for item in items]
        found: set[str] = set()
        for identity, server in self.connections.servers.items():
            if identity != self.connections.identity(queue.address) and keys:
                hits: Any = server.client.hmget(LEDGER, [key.encode(errors="surrogateescape") for key in keys])
                found.update(key for key, hit in zip(keys, hits, strict=True) if hit is not None)
        return frozenset(found)

    def _claim(self, pipeline: RedisPipeline, queue: RedisQueue) -> PendingReply:
        arguments = [self.token, LIFE_MS, self.pace.size, BATCH_BYTES]
        if queue.bodies:
            return pipeline.send("claim_ids", [LOCK, queue.list, queue.bodies, queue.claim], arguments)
        return pipeline.send("claim_list", [LOCK, queue.list, queue.claim], arguments)

    def _claimed_batch(self, pipeline: RedisPipeline, queue: RedisQueue, pending: PendingReply) -> list[Batch]:
        answer = pipeline.result(pending)
        items: list[Item]
        if queue.bodies:
            ids, bodies = answer
            items = list(zip(ids, bodies, strict=True))
        else:
            items = [(b"", raw) for raw in answer]
        self._claimed += len(items)
        return [Batch(queue=queue, items=items)] if items else []

    def _launch(self, pipeline: RedisPipeline, work: Work) -> None:
        """Start a batch: push to other servers first; if there are none, apply it on its own server at once."""
        in_flight_batch = InFlightBatch(work=work)
        home = self.connections.identity(work.batch.queue.address)
        for identity, groups in work.groups.items():
            if identity == home:
                continue
            other = self.connections.pipeline(identity)
            in_flight_batch.pushes.append((other, self._push(other, groups, is_new=not work.batch.resumed)))
        self.in_flight_batches.append(in_flight_batch)
        if not in_flight_batch.pushes:
            self._apply(pipeline, in_flight_batch)

    def _push(self, other: RedisPipeline, groups: dict[str, Group], *, is_new: bool) -> PendingReply:
        request = note_request(groups, token=self.token, life_ms=LIFE_MS, stamp=self.stamp)
        if request is not None and is_new and not self._must_check_ledger:
            pushes, keys, arguments = request
            return other.transact(pushes, "note", [LOCK, *keys], arguments)
        keys, arguments = push_request(groups, token=self.token, life_ms=LIFE_MS, stamp=self.stamp)
        return other.send("push", [LOCK, *keys], arguments)

    def _finish_pushes(self, pipeline: RedisPipeline) -> None:
        for in_flight_batch in self.in_flight_batches:
            if in_flight_batch.applied is None:
                for other, pending in in_flight_batch.pushes:
                    in_flight_batch.work.refused += len(other.result(pending))
                self._apply(pipeline, in_flight_batch)

    def _apply(self, pipeline: RedisPipeline, in_flight_batch: InFlightBatch) -> None:
        pushes, keys, arguments = apply_request(
            self.connections, in_flight_batch.work, claimed=self._claimed, token=self.token, life_ms=LIFE_MS
        )
        in_flight_batch.applied = pipeline.transact(pushes, "apply", [LOCK, *keys], arguments)
        self._claimed -= len(in_flight_batch.work.batch.items)

    def _await_applied(self, pipeline: RedisPipeline, *, keep: int) -> None:
        """Wait for the oldest batches until at most ``keep`` are in flight."""
        while len(self.in_flight_batches) > keep:
            in_flight_batch = self.in_flight_batches[0]
            if in_flight_batch.applied is None:
                return
            pipeline.result(in_flight_batch.applied)
            self.pace.step(self.connections.pipelines.values())
            self.connections.prolong(self.token)
            self.on_applied(in_flight_batch.work)
            self.in_flight_batches.popleft()


def claim_entries(connections: Connections, queue: RedisQueue) -> int:
    """Return how many entries an interrupted run has left in the claim of a queue."""
    length: Any = connections.servers[connections.identity(queue.address)].client.llen(queue.claim)
    return int(length)
