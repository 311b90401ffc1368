"""Empty one queue where RabbitMQ is the source, a destination, or both. None lost and none doubled, however it ends.

RabbitMQ to itself: one transaction takes, publishes and acknowledges a batch.

RabbitMQ to another server: a transaction first moves a batch to ``tqm.moving.…`` and gives each copy an id. From there
it is pushed to Redis with the id in the ledger, then acknowledged; a second run finds the ids in the ledger.

Anything to another RabbitMQ: the batch is published to ``tqm.arriving.…`` there with ids, then deleted at its source,
then moved to its queues by a transaction. At most one batch lies in ``tqm.arriving.…``; a run that finds some there
compares its ids with what is left at the source, and publishes only the others.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from migrator.brokers.rabbitmq.codec import message_for, raw_of
from migrator.brokers.rabbitmq.queues import RabbitQueue, arriving_queue
from migrator.brokers.rabbitmq.server import count
from migrator.brokers.rabbitmq.staging_headers import ID, TO, kept_copy, own_header, private_copy, public_copy
from migrator.brokers.redis.keys import LEDGER, LOCK, RedisQueue
from migrator.brokers.redis.server import script
from migrator.transfer.batch import Batch, Item, Work, apply_request, item_copy, prepare, push_request
from migrator.transfer.lock import LIFE_MS
from migrator.transfer.rabbitmq.connections import MixedConnections
from migrator.transfer.rabbitmq.consumer import BATCH_BYTES, TransactionalConsumer
from migrator.transfer.rabbitmq.session import LockedSession
from migrator.transfer.throttle import most
from migrator.translation.result import Translation, Translator, ledger_entry
from migrator.wire.json_codec import UnreadableError
from migrator.wire.quarantined import Quarantined, QuarantineReason
from migrator.wire.queue_address import QueueAddress


@dataclass(slots=True, kw_only=True)
class RabbitmqMover:
    """Empties queues by one translation."""

    mixed: MixedConnections
    token: str
    stamp: str
    selects: Callable[[Translation], bool]
    #: Called with every batch that has been carried out, and how many more of it had arrived before.
    settled: Callable[[Work, int], None]
    #: Called before a batch is taken; a true answer ends the queue.
    should_stop: Callable[[], bool]
    size: int

    def empty_queue(self, rabbit_queue: RabbitQueue, translate: Translator, *, leftovers_only: bool = False) -> None:
        """Move what an interrupted run had taken from a RabbitMQ queue, then what it holds, until it is empty.

        Raises:
            amqp.AMQPError, redis.RedisError, OSError: Connect again, then call this again.
        """
        lane = self._home(rabbit_queue.address)
        if count(lane.connection, rabbit_queue.moving) is not None:
            moving = lane.consumer(rabbit_queue.moving, self.size)
            while batch := moving.take(self.size):
                self._carry(rabbit_queue, moving, batch, translate, resumed=True)
        counted = None if leftovers_only else count(lane.connection, rabbit_queue.queue)
        if counted is not None:
            source, left = lane.consumer(rabbit_queue.queue, self.size), most(counted.ready)
            if self.mixed.stays_home(rabbit_queue):
                while left > 0 and not self.should_stop() and (batch := source.take(self.size)):
                    self._carry(rabbit_queue, source, batch, translate)
                    left -= len(batch)
            else:
                self._stage(rabbit_queue, lane, source, translate, left)
        lane.close_consumer(rabbit_queue.queue)
        lane.close_consumer(rabbit_queue.moving)

    def _stage(
        self,
        rabbit_queue: RabbitQueue,
        lane: LockedSession,
        source: TransactionalConsumer,
        translate: Translator,
        left: int,
    ) -> None:
        """Give each message an id on its way through a queue of ours."""
        moving, staged = lane.consumer(lane.own(rabbit_queue.moving), self.size), 0
        while True:
            going_on = left > 0 and not self.should_stop()
            batch = source.take(self.size) if going_on else []
            left -= len(batch)
            for message in batch:
                source.publish(private_copy(message, {ID: uuid.uuid4().hex}), rabbit_queue.moving, origin=message)
            if batch:
                source.commit(wait=False)
            # The batch before goes on its way while the server writes this one.
            if staged:
                self._carry(rabbit_queue, moving, moving.take(staged, expected=staged), translate)
            # Only what is safely in the queue of ours may be pushed under its id.
            source.finish()
            staged = len(batch)
            if not batch:
                return

    def empty_list(self, source: RedisQueue, translate: Translator, *, leftovers_only: bool = False) -> None:
        """Move what an interrupted run had claimed from a list in Redis, then what it holds, until it is empty.

        Raises:
            amqp.AMQPError, redis.RedisError, OSError: Connect again, then call this again.
        """
        client = self._server(source).client
        while entries := client.lrange(source.claim, 0, self.size - 1):
            bodies = client.hmget(source.bodies, entries) if source.bodies else entries
            items: list[Item] = list(zip(entries if source.bodies else [b""] * len(entries), bodies, strict=True))
            self._carry_claim(Batch(source=source, items=items, resumed=True), translate)
        left = 0 if leftovers_only else most(client.llen(source.list))
        while left > 0 and not self.should_stop() and (items := self._claim(source)):
            self._carry_claim(Batch(source=source, items=items), translate)
            left -= len(items)

    def drain(self) -> None:
        """Move what has arrived from other servers to its queues; what is left at the sources of it must be gone."""
        for lane, queue in self._arriving():
            if count(lane.connection, queue) is not None:
                self._drain(lane, queue)

    def finish(self) -> None:
        """Wait until all that has arrived from other servers is in its queues."""
        for lane, queue in self._arriving():
            lane.finish(queue)

    def _arriving(self) -> Iterator[tuple[LockedSession, str]]:
        for identity, lane in self.mixed.lanes.items():
            for endpoint in self.mixed.endpoints(identity):
                yield lane, arriving_queue(endpoint)

    def _carry(
        self,
        rabbit_queue: RabbitQueue,
        consumer: TransactionalConsumer,
        taken: list[Any],
        translate: Translator,
        *,
        resumed: bool = False,
    ) -> None:
        """Carry out one batch from RabbitMQ."""
        self.mixed.stay(self.token)
        source, home = rabbit_queue.as_source(), self._home(rabbit_queue.address)
        origins = _with_ids(taken, given=consumer.queue == rabbit_queue.moving)
        messages = {copy: public_copy(message) for copy, message in origins.items()}
        arrived = self._arrived([ledger_entry(rabbit_queue.address, copy) for copy in messages]) if resumed else set()
        fresh: list[Item] = [
            (copy.encode(), raw_of(rabbit_queue.address, message))
            for copy, message in messages.items()
            if ledger_entry(rabbit_queue.address, copy) not in arrived
        ]
        encoded: dict[str, Any] = {}
        batch = Batch(source=source, items=fresh, resumed=resumed)
        work = prepare(self.mixed.whole, batch, self._encoding(translate, encoded), self.selects)
        self._push(work, source)
        others = self._send_elsewhere(work, encoded, home)
        for translated in work.translated:
            if self.mixed.lane(translated.address) is home:
                origin = origins[translated.source_copy]
                consumer.publish(encoded[translated.copy_id], home.destination(translated.address), origin=origin)
        for copy, quarantined in work.quarantined:
            consumer.publish(
                kept_copy(messages[copy], copy, quarantined), home.own(rabbit_queue.quarantined), origin=origins[copy]
            )
        for copy in map(bytes.decode, work.filtered_flat):
            consumer.publish(
                private_copy(messages[copy], {}), home.own(rabbit_queue.filtered_out), origin=origins[copy]
            )
        consumer.commit(then=lambda: self.settled(work, len(arrived)), wait=bool(others))
        for lane, queue, number in others:
            self._drain(lane, queue, number)

    def _carry_claim(self, batch: Batch, translate: Translator) -> None:
        """Carry out one batch from Redis."""
        self.mixed.stay(self.token)
        source, server = batch.source, self._server(batch.source)
        keys = [ledger_entry(source.address, item_copy(source, item)) for item in batch.items]
        arrived = self._arrived(keys) if batch.resumed else set()
        fresh = [item for item, key in zip(batch.items, keys, strict=True) if key not in arrived]
        encoded: dict[str, Any] = {}
        part = Batch(source=source, items=fresh, resumed=batch.resumed)
        work = prepare(self.mixed.whole, part, self._encoding(translate, encoded), self.selects)
        self._push(work, source)
        others = self._send_elsewhere(work, encoded, None)
        work.batch = batch
        if source.bodies:
            done = [item[0] for item, key in zip(batch.items, keys, strict=True) if key in arrived]
            work.gone_ids.extend(identity for identity in done if identity not in work.gone_ids)
        claimed = int(server.client.llen(source.claim))
        pushes, keys, arguments = apply_request(
            self.mixed.whole, work, claimed=claimed, token=self.token, life_ms=LIFE_MS
        )
        with server.client.pipeline(transaction=True) as pipeline:
            for key, messages in pushes:
                pipeline.lpush(key, *messages)
            # As its text: a server that does not know its digest would push and then not run it.
            pipeline.eval(script("apply")[1], len(keys) + 1, LOCK, *keys, *arguments)
            pipeline.execute()
        for lane, queue, number in others:
            self._drain(lane, queue, number)
        work.batch = part
        self.settled(work, len(batch.items) - len(fresh))

    def _encoding(self, translate: Translator, encoded: dict[str, Any]) -> Translator:
        """Return the translation, with what AMQP can't hold kept back."""

        def translated(address: QueueAddress, copy_id: str, raw: bytes) -> Translation:
            found = translate(address, copy_id, raw)
            if isinstance(found, Quarantined):
                return found
            if self.mixed.lane(address) is not None:
                # The id that the copy got when it was taken, whatever is in the message: the ledger goes by it.
                found = msgspec.structs.replace(found, source_copy=copy_id)
            if self.mixed.lane(found.address) is not None:
                try:
                    encoded[found.copy_id] = message_for(found.address, found.payload)
                except UnreadableError as error:
                    return Quarantined(QuarantineReason.UNREADABLE, str(error), found.source_task, found.id)
            return found

        return translated

    def _push(self, work: Work, source: RedisQueue) -> None:
        """Push to every Redis that is not the source."""
        home = self.mixed.whole.identity(source.address)
        for identity, groups in work.groups.items():
            server = self.mixed.whole.servers.get(identity)
            if server is not None and identity != home:
                keys, arguments = push_request(groups, token=self.token, life_ms=LIFE_MS, stamp=self.stamp)
                work.refused += len(server.run("push", [LOCK, *keys], arguments))

    def _send_elsewhere(
        self, work: Work, encoded: dict[str, Any], home: LockedSession | None
    ) -> list[tuple[LockedSession, str, int]]:
        """Publish to every RabbitMQ that is not the source, into the queue of what arrives; return what lies where."""
        used: dict[str, tuple[LockedSession, str, int]] = {}
        for translated in work.translated:
            lane = self.mixed.lane(translated.address)
            if lane is None or lane is home:
                continue
            queue = lane.own(arriving_queue(self.mixed.whole.endpoint(translated.address)))
            _, _, before = used.get(key := f"{id(lane)} {queue}", (lane, queue, 0))
            used[key] = (lane, queue, before + 1)
            headers = {
                ID: ledger_entry(work.batch.source.address, translated.source_copy),
                TO: lane.destination(translated.address),
            }
            lane.consumer(queue, self.size).publish(private_copy(encoded[translated.copy_id], headers), queue)
        for lane, queue, _ in used.values():
            lane.consumer(queue, self.size).commit()
        return list(used.values())

    def _drain(self, lane: LockedSession, queue: str, number: int = 0) -> None:
        """Move what has arrived to its queues: so many, or all."""
        consumer, left = lane.consumer(lane.own(queue), self.size), number or math.inf
        while most := int(min(left, self.size)):
            if not (batch := consumer.take(most, expected=most if number else 0)):
                return
            for message in batch:
                consumer.publish(public_copy(message), own_header(message, TO), origin=message)
            consumer.commit(wait=not number)
            left -= len(batch)
            self.mixed.stay(self.token)

    def _arrived(self, keys: list[str]) -> set[str]:
        """Return which of these copies have reached their destination before."""
        found = self.mixed.arrived.intersection(keys)
        for server in self.mixed.whole.servers.values():
            hits: list[Any] = server.client.hmget(LEDGER, [key.encode(errors="surrogateescape") for key in keys])
            found |= {key for key, hit in zip(keys, hits, strict=True) if hit is not None}
        return found

    def _claim(self, source: RedisQueue) -> list[Item]:
        server, arguments = self._server(source), [self.token, LIFE_MS, self.size, BATCH_BYTES]
        if source.bodies:
            ids, bodies = server.run("claim_ids", [LOCK, source.list, source.bodies, source.claim], arguments)
            return list(zip(ids, bodies, strict=True))
        return [(b"", raw) for raw in server.run("claim_list", [LOCK, source.list, source.claim], arguments)]

    def _server(self, source: RedisQueue) -> Any:
        return self.mixed.whole.servers[self.mixed.whole.identity(source.address)]

    def _home(self, address: QueueAddress) -> LockedSession:
        lane = self.mixed.lane(address)
        assert lane is not None
        return lane


def _with_ids(taken: list[Any], *, given: bool) -> dict[str, Any]:
    """Return messages by the id of the copy: the one that we gave it, in a queue of ours, else a new one."""
    found: dict[str, Any] = {}
    for message in taken:
        copy = own_header(message, ID) if given else ""
        found[copy if copy and copy not in found else uuid.uuid4().hex] = message
    return found
