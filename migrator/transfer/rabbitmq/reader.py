"""Take messages from one RabbitMQ queue; none is lost or doubled, however it ends.

RabbitMQ to itself: one transaction consumes, publishes and acknowledges a batch.

RabbitMQ to another server: a transaction first moves a batch to ``tqm.moving.…`` and gives each copy an id. From there
it is pushed with the id in the ledger, then acknowledged; a second run finds the ids in the ledger.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from typing import Any

from migrator.brokers.rabbitmq.browse import browse
from migrator.brokers.rabbitmq.codec import raw_of
from migrator.brokers.rabbitmq.queues import RabbitQueue
from migrator.brokers.rabbitmq.server import count
from migrator.brokers.rabbitmq.staging_headers import ID, own_header, private_copy, public_copy, quarantined_copy
from migrator.transfer.batch import Batch, Item, Work, ledger_entries
from migrator.transfer.rabbitmq.consumer import TransactionalConsumer
from migrator.transfer.rabbitmq.dedup_window import fingerprint
from migrator.transfer.rabbitmq.link import RabbitLink
from migrator.transfer.rabbitmq.session import PAGE, LockedSession


class RabbitReader:
    """Takes messages from one queue.

    Args:
        home: The server.
        queue: The queue and ours for it.
        stays_home: Everything taken from it goes to the same server.
    """

    def __init__(self, home: RabbitLink, queue: RabbitQueue, *, stays_home: bool) -> None:
        self.address = queue.address
        self.queue = queue
        self._home = home
        self._stays_home = stays_home

    @property
    def _session(self) -> LockedSession:
        return self._home.session

    def _source_of(self, work: Work) -> str:
        return self.queue.queue if self._stays_home and not work.batch.resumed else self.queue.moving

    def waiting(self) -> int:
        """Return how many messages wait in the queue."""
        counted = count(self._session.connection, self.queue.queue)
        return counted.ready if counted else 0

    def memory(self) -> int:
        """Return 0: AMQP does not tell."""
        return 0

    def leftovers(self) -> Iterator[Batch]:
        """Yield what an interrupted run had taken."""
        if count(self._session.connection, self.queue.moving) is not None:
            moving = self._session.consumer(self.queue.moving)
            while deliveries := moving.take(PAGE):
                batch = self._batch(moving, deliveries)
                batch.resumed = True
                batch.arrived = frozenset(
                    self._home.peers.arrived_elsewhere(self._home.identity, ledger_entries(batch))
                )
                yield batch
            self._session.close_consumer(self.queue.moving)

    def claim(self, size: int) -> Callable[[], Batch | None]:
        """Begin to take messages, at most this many; None is the end of the queue."""
        session = self._session
        if not session.consumes(self.queue.queue) and count(session.connection, self.queue.queue) is None:
            return lambda: None
        consumer = session.consumer(self.queue.queue)
        if self._stays_home:
            return lambda: self._taken(consumer, consumer.take(size))
        moving = session.consumer(session.own(self.queue.moving))
        staged = consumer.take(size)
        for message in staged:
            consumer.publish(private_copy(message, {ID: uuid.uuid4().hex}), self.queue.moving, origin=message)
        if staged:
            consumer.commit(staged, wait=False)

        def claimed() -> Batch | None:
            # Only what is safely in our queue may be pushed under its id.
            consumer.finish()
            return self._taken(moving, moving.take(len(staged), expected=len(staged)) if staged else [])

        return claimed

    def apply(self, work: Work) -> Callable[[], None]:
        """Begin to apply a batch."""
        session = self._session
        origins = work.batch.deliveries
        consumer = session.consumer(self._source_of(work))
        for group in work.groups.get(self._home.identity, {}).values():
            destination = session.destination(group.address)
            for translated, message in zip(group.translated, group.messages, strict=True):
                consumer.publish(message, destination, origin=origins[translated.source_copy])
        for (identity, _), quarantined in work.quarantined:
            origin = origins[identity.decode()]
            copy = quarantined_copy(public_copy(origin), identity.decode(), quarantined)
            consumer.publish(copy, session.own(self.queue.quarantined), origin=origin)
        for identity, _ in work.filtered:
            origin = origins[identity.decode()]
            consumer.publish(private_copy(public_copy(origin), {}), session.own(self.queue.filtered_out), origin=origin)
        consumer.commit(list(origins.values()), then=origins.clear, wait=False)

        def applied() -> None:
            while origins:
                consumer.finish()

        return applied

    def was_applied(self, work: Work) -> bool:
        """Say whether a batch was applied whose outcome got lost with a connection."""
        first = next(map(fingerprint, work.batch.deliveries.values()), None)
        with closing(browse(self._session.connection, self._source_of(work))) as messages:
            # The server puts what it takes back where it was, at the head.
            return all(fingerprint(message) != first for message in islice(messages, PAGE))

    def restore_filtered(self) -> None:
        """Put filtered-out messages back where they were."""
        self._home.move_back(self.queue, self.queue.filtered_out)

    def close(self) -> None:
        """Take nothing more."""
        self._session.close_consumer(self.queue.queue)
        self._session.close_consumer(self.queue.moving)

    def _taken(self, consumer: TransactionalConsumer, deliveries: list[Any]) -> Batch | None:
        return self._batch(consumer, deliveries) if deliveries else None

    def _batch(self, consumer: TransactionalConsumer, deliveries: list[Any]) -> Batch:
        origins = _with_ids(deliveries, given=consumer.queue == self.queue.moving)
        items: list[Item] = [
            (copy.encode(), raw_of(self.address, public_copy(message))) for copy, message in origins.items()
        ]
        return Batch(address=self.address, items=items, with_ids=True, deliveries=origins)


def _with_ids(deliveries: list[Any], *, given: bool) -> dict[str, Any]:
    """Return messages by copy id: the one that we assigned, in a queue of ours, else a new one."""
    found: dict[str, Any] = {}
    for message in deliveries:
        copy = own_header(message, ID) if given else ""
        found[copy if copy and copy not in found else uuid.uuid4().hex] = message
    return found
