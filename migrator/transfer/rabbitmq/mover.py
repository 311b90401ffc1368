"""Empty one queue where RabbitMQ is the source, a destination, or both; none is lost or doubled, however it ends.

RabbitMQ to itself: one transaction consumes, publishes and acknowledges a batch.

RabbitMQ to another server: a transaction first moves a batch to ``tqm.moving.…`` and gives each copy an id. From there
it is pushed to Redis with the id in the ledger, then acknowledged; a second run finds the ids in the ledger.

Anything to another RabbitMQ: the batch is published to ``tqm.arriving.…`` there with ids, then deleted at its source,
then moved to its queues by a transaction. At most one batch is in ``tqm.arriving.…``; a run that finds messages
there compares their ids with what is left at the source, and publishes only the others.
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
from migrator.brokers.rabbitmq.staging_headers import ID, TO, own_header, private_copy, public_copy, quarantined_copy
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
    """Empties queues."""

    mixed: MixedConnections
    token: str
    stamp: str
    selects: Callable[[Translation], bool]
    #: Called with every batch that has been applied, and how many more messages of it had arrived before.
    on_applied: Callable[[Work, int], None]
    #: Called before a batch is taken; a true result ends the queue.
    should_stop: Callable[[], bool]
    size: int

    def empty_queue(self, rabbit_queue: RabbitQueue, translate: Translator, *, leftovers_only: bool = False) -> None:
        """Move what an interrupted run had taken from a RabbitMQ queue, then what it holds, until it is empty.

        Raises:
            amqp.AMQPError, redis.RedisError, OSError: Connect again, then call this again.
        """
        session = self._home(rabbit_queue.address)
        if count(session.connection, rabbit_queue.moving) is not None:
            moving = session.consumer(rabbit_queue.moving, self.size)
            while batch := moving.take(self.size):
                self._transfer_batch(rabbit_queue, moving, batch, translate, resumed=True)
        counted = None if leftovers_only else count(session.connection, rabbit_queue.queue)
        if counted is not None:
            consumer, left = session.consumer(rabbit_queue.queue, self.size), most(counted.ready)
            if self.mixed.stays_home(rabbit_queue):
                while left > 0 and not self.should_stop() and (batch := consumer.take(self.size)):
                    self._transfer_batch(rabbit_queue, consumer, batch, translate)
                    left -= len(batch)
            else:
                self._stage(rabbit_queue, session, consumer, translate, left)
        session.close_consumer(rabbit_queue.queue)
        session.close_consumer(rabbit_queue.moving)

    def _stage(
        self,
        rabbit_queue: RabbitQueue,
        session: LockedSession,
        consumer: TransactionalConsumer,
        translate: Translator,
        left: int,
    ) -> None:
        """Move messages through a queue of ours, where each gets an id."""
        moving, staged = session.consumer(session.own(rabbit_queue.moving), self.size), 0
        while True:
            going_on = left > 0 and not self.should_stop()
            batch = consumer.take(self.size) if going_on else []
            left -= len(batch)
            for message in batch:
                consumer.publish(private_copy(message, {ID: uuid.uuid4().hex}), rabbit_queue.moving, origin=message)
            if batch:
                consumer.commit(wait=False)
            # The batch before is transferred while the server writes this one.
            if staged:
                self._transfer_batch(rabbit_queue, moving, moving.take(staged, expected=staged), translate)
            # Only what is safely in our queue may be pushed under its id.
            consumer.finish()
            staged = len(batch)
            if not batch:
                return

    def empty_list(self, redis_queue: RedisQueue, translate: Translator, *, leftovers_only: bool = False) -> None:
        """Move what an interrupted run had claimed from a Redis queue, then what it holds, until it is empty.

        Raises:
            amqp.AMQPError, redis.RedisError, OSError: Connect again, then call this again.
        """
        client = self._server(redis_queue).client
        while entries := client.lrange(redis_queue.claim, 0, self.size - 1):
            bodies = client.hmget(redis_queue.bodies, entries) if redis_queue.bodies else entries
            items: list[Item] = list(zip(entries if redis_queue.bodies else [b""] * len(entries), bodies, strict=True))
            self._transfer_claimed(Batch(queue=redis_queue, items=items, resumed=True), translate)
        left = 0 if leftovers_only else most(client.llen(redis_queue.list))
        while left > 0 and not self.should_stop() and (items := self._claim(redis_queue)):
            self._transfer_claimed(Batch(queue=redis_queue, items=items), translate)
            left -= len(items)

    def drain(self) -> None:
        """Move what has arrived from other servers to its queues; it must have been deleted at its source."""
        for session, queue in self._arriving():
            if count(session.connection, queue) is not None:
                self._drain(session, queue)

    def finish(self) -> None:
        """Wait until all that has arrived from other servers is in its queues."""
        for session, queue in self._arriving():
            session.finish(queue)

    def _arriving(self) -> Iterator[tuple[LockedSession, str]]:
        for identity, session in self.mixed.sessions.items():
            for endpoint in self.mixed.endpoints(identity):
                yield session, arriving_queue(endpoint)

    def _transfer_batch(
        self,
        rabbit_queue: RabbitQueue,
        consumer: TransactionalConsumer,
        deliveries: list[Any],
        translate: Translator,
        *,
        resumed: bool = False,
    ) -> None:
        """Transfer one batch from RabbitMQ."""
        self.mixed.keep_locks(self.token)
        redis_queue, home = rabbit_queue.as_redis_queue(), self._home(rabbit_queue.address)
        origins = _with_ids(deliveries, given=consumer.queue == rabbit_queue.moving)
        messages = {copy: public_copy(message) for copy, message in origins.items()}
        arrived = self._arrived([ledger_entry(rabbit_queue.address, copy) for copy in messages]) if resumed else set()
        fresh: list[Item] = [
            (copy.encode(), raw_of(rabbit_queue.address, message))
            for copy, message in messages.items()
            if ledger_entry(rabbit_queue.address, copy) not in arrived
        ]
        encoded: dict[str, Any] = {}
        batch = Batch(queue=redis_queue, items=fresh, resumed=resumed)
        work = prepare(self.mixed.whole, batch, self._encoding(translate, encoded), self.selects)
        self._push(work, redis_queue)
        others = self._send_elsewhere(work, encoded, home)
        for translated in work.translated:
            if self.mixed.session(translated.address) is home:
                origin = origins[translated.source_copy]
                consumer.publish(encoded[translated.copy_id], home.destination(translated.address), origin=origin)
        for copy, quarantined in work.quarantined:
            set_aside = quarantined_copy(messages[copy], copy, quarantined)
            consumer.publish(set_aside, home.own(rabbit_queue.quarantined), origin=origins[copy])
        for copy in map(bytes.decode, work.filtered_flat):
            left = private_copy(messages[copy], {})
            consumer.publish(left, home.own(rabbit_queue.filtered_out), origin=origins[copy])
        consumer.commit(then=lambda: self.on_applied(work, len(arrived)), wait=bool(others))
        for session, queue, number in others:
            self._drain(session, queue, number)

    def _transfer_claimed(self, batch: Batch, translate: Translator) -> None:
        """Transfer one batch from Redis."""
        self.mixed.keep_locks(self.token)
        redis_queue, server = batch.queue, self._server(batch.queue)
        keys = [ledger_entry(redis_queue.address, item_copy(redis_queue, item)) for item in batch.items]
        arrived = self._arrived(keys) if batch.resumed else set()
        fresh = [item for item, key in zip(batch.items, keys, strict=True) if key not in arrived]
        encoded: dict[str, Any] = {}
        part = Batch(queue=redis_queue, items=fresh, resumed=batch.resumed)
        work = prepare(self.mixed.whole, part, self._encoding(translate, encoded), self.selects)
        self._push(work, redis_queue)
        others = self._send_elsewhere(work, encoded, None)
        work.batch = batch
        if redis_queue.bodies:
            done = [item[0] for item, key in zip(batch.items, keys, strict=True) if key in arrived]
            work.gone_ids.extend(identity for identity in done if identity not in work.gone_ids)
        claimed = int(server.client.llen(redis_queue.claim))
        pushes, keys, arguments = apply_request(
            self.mixed.whole, work, claimed=claimed, token=self.token, life_ms=LIFE_MS
        )
        with server.client.pipeline(transaction=True) as pipeline:
            for key, messages in pushes:
                pipeline.lpush(key, *messages)
            # Sent as text: a server that does not know its digest would push and then not run it.
            pipeline.eval(script("apply")[1], len(keys) + 1, LOCK, *keys, *arguments)
            pipeline.execute()
        for session, queue, number in others:
            self._drain(session, queue, number)
        work.batch = part
        self.on_applied(work, len(batch.items) - len(fresh))

    def _encoding(self, translate: Translator, encoded: dict[str, Any]) -> Translator:
        """Return the translation with AMQP encoding; what AMQP can't hold is quarantined."""

        def translated(address: QueueAddress, copy_id: str, raw: bytes) -> Translation:
            found = translate(address, copy_id, raw)
            if isinstance(found, Quarantined):
                return found
            if self.mixed.session(address) is not None:
                # The id that the copy got when it was taken, whatever the message says: it is the key in the ledger.
                found = msgspec.structs.replace(found, source_copy=copy_id)
            if self.mixed.session(found.address) is not None:
                try:
                    encoded[found.copy_id] = message_for(found.address, found.payload)
                except UnreadableError as error:
                    return Quarantined(QuarantineReason.UNREADABLE, str(error), found.source_task, found.id)
            return found

        return translated

    def _push(self, work: Work, redis_queue: RedisQueue) -> None:
        """Push to every Redis that is not the source."""
        home = self.mixed.whole.identity(redis_queue.address)
        for identity, groups in work.groups.items():
            server = self.mixed.whole.servers.get(identity)
            if server is not None and identity != home:
                keys, arguments = push_request(groups, token=self.token, life_ms=LIFE_MS, stamp=self.stamp)
                work.refused += len(server.run("push", [LOCK, *keys], arguments))

    def _send_elsewhere(
        self, work: Work, encoded: dict[str, Any], home: LockedSession | None
    ) -> list[tuple[LockedSession, str, int]]:
        """Publish to every RabbitMQ that is not the source, into its arriving queue; return how many went where."""
        used: dict[str, tuple[LockedSession, str, int]] = {}
        for translated in work.translated:
            session = self.mixed.session(translated.address)
            if session is None or session is home:
                continue
            queue = session.own(arriving_queue(self.mixed.whole.endpoint(translated.address)))
            _, _, before = used.get(key := f"{id(session)} {queue}", (session, queue, 0))
            used[key] = (session, queue, before + 1)
            headers = {
                ID: ledger_entry(work.batch.queue.address, translated.source_copy),
                TO: session.destination(translated.address),
            }
            session.consumer(queue, self.size).publish(private_copy(encoded[translated.copy_id], headers), queue)
        for session, queue, _ in used.values():
            session.consumer(queue, self.size).commit()
        return list(used.values())

    def _drain(self, session: LockedSession, queue: str, number: int = 0) -> None:
        """Move what has arrived to its queues: this many messages, or all."""
        consumer, left = session.consumer(session.own(queue), self.size), number or math.inf
        while most := int(min(left, self.size)):
            if not (batch := consumer.take(most, expected=most if number else 0)):
                return
            for message in batch:
                consumer.publish(public_copy(message), own_header(message, TO), origin=message)
            consumer.commit(wait=not number)
            left -= len(batch)
            self.mixed.keep_locks(self.token)

    def _arrived(self, keys: list[str]) -> set[str]:
        """Return which of these copies have reached their destination before."""
        found = self.mixed.arrived.intersection(keys)
        for server in self.mixed.whole.servers.values():
            hits: list[Any] = server.client.hmget(LEDGER, [key.encode(errors="surrogateescape") for key in keys])
            found |= {key for key, hit in zip(keys, hits, strict=True) if hit is not None}
        return found

    def _claim(self, redis_queue: RedisQueue) -> list[Item]:
        server, arguments = self._server(redis_queue), [self.token, LIFE_MS, self.size, BATCH_BYTES]
        if redis_queue.bodies:
            keys = [LOCK, redis_queue.list, redis_queue.bodies, redis_queue.claim]
            ids, bodies = server.run("claim_ids", keys, arguments)
            return list(zip(ids, bodies, strict=True))
        return [(b"", raw) for raw in server.run("claim_list", [LOCK, redis_queue.list, redis_queue.claim], arguments)]

    def _server(self, redis_queue: RedisQueue) -> Any:
        return self.mixed.whole.servers[self.mixed.whole.identity(redis_queue.address)]

    def _home(self, address: QueueAddress) -> LockedSession:
        session = self.mixed.session(address)
        assert session is not None
        return session


def _with_ids(deliveries: list[Any], *, given: bool) -> dict[str, Any]:
    """Return messages by copy id: the one that we assigned, in a queue of ours, else a new one."""
    found: dict[str, Any] = {}
    for message in deliveries:
        copy = own_header(message, ID) if given else ""
        found[copy if copy and copy not in found else uuid.uuid4().hex] = message
    return found
