"""Count and browse the messages in queues on RabbitMQ.

AMQP has no way to read a message without taking it. :func:`browse` takes the waiting messages without acknowledging
them and closes its channel, so the server requeues each one in its place. The effects: the order stays; the flag
``redelivered`` of each message is set from then on (Dramatiq ignores it, Celery only passes it on as
``delivery_info``, unless ``worker_deduplicate_successful_tasks`` is on, which looks it up in the result backend);
while browsing, nobody else gets those messages, so live workers come first (``x-priority``); a quorum queue counts the
delivery, and one with a delivery limit drops a message that reaches it, so such queues are refused where their type is
known.

Source: RabbitMQ, "Consumer Acknowledgements", "Consumer Priorities"; celery/app/trace.py.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Any

from migrator.brokers.decode import read_message
from migrator.brokers.protocol import Depths, Owner
from migrator.brokers.rabbitmq.codec import raw_of
from migrator.brokers.rabbitmq.management import Management
from migrator.brokers.rabbitmq.queues import RabbitQueue, arriving_queue, dead_queue, rabbit_queues
from migrator.brokers.rabbitmq.server import ERRORS, RabbitmqServer, count
from migrator.brokers.rabbitmq.staging_headers import ID, own_header, public_copy
from migrator.errors import RefusedError, UnreachableError
from migrator.plan.model import Endpoint
from migrator.wire.message import Message, State, System

#: How long to wait for the next message before the queue is counted again, and until we give up on the server.
_WAIT_S, _LONGEST_S = 2.0, 60.0


def count_all(server: RabbitmqServer, management: Management | None, endpoint: Endpoint) -> Depths:
    """Count the messages by queue and state; those that workers hold only where the management plugin is named."""
    counts = {(queue, state): 0 for queue in endpoint.queues for state in State}
    with server.connected() as connection:

        def ready(queue: str) -> int:
            found = count(connection, queue)
            return found.ready if found else 0

        for at in rabbit_queues(endpoint):
            queue, waiting = at.address.queue, State.DELAYED if at.address.delayed else State.READY
            counts[queue, waiting] += ready(at.queue) + ready(at.filtered_out)
            counts[queue, State.MOVING] += ready(at.moving)
            counts[queue, State.QUARANTINED] += ready(at.quarantined)
            if management is not None:
                counts[queue, State.CLAIMED] += _held(connection, management, server.virtual_host, at.queue)
        if endpoint.system is System.DRAMATIQ:
            for queue in endpoint.queues:
                counts[queue, State.DEAD] = ready(dead_queue(queue))
        counts[endpoint.queues[0], State.MOVING] += ready(arriving_queue(endpoint))
    return counts


def _held(connection: Any, management: Management, virtual_host: str, queue: str) -> int:
    """Return how many messages the consumers of a queue hold.

    The plugin's figures are seconds old: they may still include what a worker held that has stopped since. That nobody
    consumes a queue is known at once.
    """
    details, counted = management.queue(virtual_host, queue), count(connection, queue)
    return details.unacknowledged if details and counted and counted.consumers else 0


def find_owners(server: RabbitmqServer, management: Management | None, endpoint: Endpoint) -> tuple[Owner, ...]:
    """Return one entry for each queue that is consumed; RabbitMQ itself requeues what stopped consumers held."""
    found = []
    with server.connected() as connection:
        for at in rabbit_queues(endpoint):
            counted = count(connection, at.queue)
            if counted is None or not counted.consumers:
                continue
            details = management.queue(server.virtual_host, at.queue) if management else None
            found.append(
                Owner(
                    id=f"{counted.consumers} consumers",
                    queue=at.address.queue,
                    delayed=at.address.delayed,
                    claimed=details.unacknowledged if details else 0,
                    heartbeat_ms=None,
                    consumers=counted.consumers,
                )
            )
    return tuple(found)


def scan_all(
    server: RabbitmqServer, management: Management | None, endpoint: Endpoint, only: str | None
) -> Iterator[Message]:
    """Yield every message that is waiting, being moved, quarantined or dead."""
    with server.connected() as connection:
        for at in rabbit_queues(endpoint):
            if only not in (None, at.address.queue):
                continue
            _refuse_quorum(server, management, at)
            addresses = [(at.moving, State.MOVING), (at.queue, State.READY), (at.filtered_out, State.READY)]
            addresses.append((at.quarantined, State.QUARANTINED))
            if endpoint.system is System.DRAMATIQ and not at.address.delayed:
                addresses.append((dead_queue(at.queue), State.DEAD))
            for queue, state in addresses:
                for message in browse(connection, queue):
                    yield _read(at, message, state)
        if only in (None, endpoint.queues[0]):
            for message in browse(connection, arriving_queue(endpoint)):
                yield _read(rabbit_queues(endpoint)[0], message, State.MOVING)


def browse(connection: Any, queue: str) -> Generator[Any, None, None]:
    """Yield the messages that wait in a queue now, next one first; each is requeued in its place at the end."""
    counted = count(connection, queue)
    if counted is None or not counted.ready:
        return
    channel, waiting = connection.channel(), deque[Any]()
    tag = channel.basic_consume(queue, callback=waiting.append, arguments={"x-priority": -100})
    try:
        for _ in range(counted.ready):
            if not waiting and not _wait(connection, channel, queue, waiting):
                return
            yield waiting.popleft()
    finally:
        with suppress(*ERRORS):
            channel.basic_cancel(tag)
            channel.close()


def _wait(connection: Any, channel: Any, queue: str, waiting: deque[Any]) -> bool:
    """Wait for the next message; return whether there is one: workers may have been faster.

    Raises:
        UnreachableError: The server has messages and delivers none.
    """
    deadline = time.monotonic() + _LONGEST_S
    while not waiting:
        with suppress(TimeoutError):
            connection.drain_events(timeout=_WAIT_S)
        if waiting:
            break
        # Counted on the consumer's channel, so everything delivered before this answer has been received.
        _, ready, _ = channel.queue_declare(queue=queue, passive=True)
        if not ready and not waiting:
            return False
        if time.monotonic() > deadline:
            raise UnreachableError(
                queue, f"the server delivered nothing for {_LONGEST_S:g} s", found=f"{ready} waiting"
            )
    return True


def _read(at: RabbitQueue, message: Any, state: State) -> Message:
    copy_id = own_header(message, ID)
    return read_message(at.address, copy_id, raw_of(at.address, public_copy(message)), state)


def _refuse_quorum(server: RabbitmqServer, management: Management | None, at: RabbitQueue) -> None:
    details = management.queue(server.virtual_host, at.queue) if management else None
    if details is not None and details.kind == "quorum" and "x-delivery-limit" in details.arguments:
        raise RefusedError(
            f"{server.where} {at.queue}",
            "browsing a quorum queue counts as a delivery, and this one drops messages after some deliveries",
            found=f"x-delivery-limit={details.arguments['x-delivery-limit']}",
            remedy="run without browsing the messages (counting them is safe)",
        )
