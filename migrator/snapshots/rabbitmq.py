"""The RabbitMQ part of a snapshot: write every message, queue by queue, and put them back.

Shape of an item: JSON ``{"body": base64, "properties": {}, "headers": {}}`` with values that JSON lacks as in
:mod:`migrator.brokers.rabbitmq.codec`. What workers hold is not included, because AMQP does not show it; the workers
have stopped before a snapshot is written.
"""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import amqp

from migrator.brokers.rabbitmq.browse import browse
from migrator.brokers.rabbitmq.codec import body_of, plain, rich
from migrator.brokers.rabbitmq.queues import (
    FormOf,
    arriving_queue,
    dead_queue,
    declare_missing,
    declare_own,
    rabbit_queues,
)
from migrator.brokers.rabbitmq.server import RabbitmqServer, count
from migrator.plan.model import Endpoint
from migrator.wire.json_codec import dumps, loads
from migrator.wire.message import Side, System

KIND = "amqp"
_PAGE = 500
#: It takes longer only where workers are still running; then the snapshot contains what they don't hold.
_LEAVE_TIMEOUT_S = 3.0


def is_on_rabbitmq(broker: Any) -> bool:
    """Say whether a broker is on RabbitMQ."""
    return isinstance(broker.server, RabbitmqServer)


def content(broker: Any) -> Iterator[tuple[str, str, list[tuple[Any, ...]], bool]]:
    """Yield kind, queue, items and True for every queue of an endpoint, ours included."""
    with broker.server.connected() as connection:
        if broker.endpoint.side is Side.LEGACY:
            _wait_for_consumers_to_leave(connection, broker.endpoint)
        for queue in _queues(broker.endpoint):
            page: list[tuple[Any, ...]] = []
            for message in browse(connection, queue):
                page.append((_encoded(message),))
                if len(page) >= _PAGE:
                    yield KIND, queue, page, True
                    page = []
            if page:
                yield KIND, queue, page, True


def _wait_for_consumers_to_leave(connection: Any, endpoint: Endpoint) -> None:
    """Give the server time to notice that workers have stopped: then all that they held is in its queue again."""
    deadline = time.monotonic() + _LEAVE_TIMEOUT_S
    for rabbit_queue in rabbit_queues(endpoint):
        while (counted := count(connection, rabbit_queue.queue)) and counted.consumers and time.monotonic() < deadline:
            time.sleep(0.05)


def put(broker: Any, queue: str, items: list[tuple[bytes, ...]], form_of: FormOf) -> None:
    """Append messages to a queue, all or none of them."""
    with broker.server.connected() as connection:
        address = next(
            (rabbit_queue.address for rabbit_queue in rabbit_queues(broker.endpoint) if rabbit_queue.queue == queue),
            None,
        )
        if address is not None:
            declare_missing(connection, address, form_of)
        elif queue.startswith("tqm."):
            declare_own(connection, queue)
        channel = connection.channel()
        channel.tx_select()
        for (item,) in items:
            channel.basic_publish(_decoded(item), exchange="", routing_key=queue)
        channel.tx_commit()


def make_room(broker: Any) -> None:
    """Empty every queue of an endpoint, ours included."""
    with broker.server.connected() as connection:
        for queue in _queues(broker.endpoint):
            with suppress(amqp.exceptions.NotFound):
                connection.channel().queue_purge(queue)


def _queues(endpoint: Endpoint) -> Iterator[str]:
    for rabbit_queue in rabbit_queues(endpoint):
        yield from (rabbit_queue.moving, rabbit_queue.queue, rabbit_queue.filtered_out, rabbit_queue.quarantined)
    if endpoint.system is System.DRAMATIQ:
        yield from (dead_queue(queue) for queue in endpoint.queues)
    yield arriving_queue(endpoint)


def _encoded(message: Any) -> bytes:
    properties = {name: plain(value) for name, value in message.properties.items() if name != "application_headers"}
    headers = None if message.headers is None else plain(message.headers)
    return dumps({"body": b64encode(body_of(message)).decode(), "properties": properties, "headers": headers})


def _decoded(item: bytes) -> Any:
    given = loads(item)
    properties = {name: rich(value) for name, value in given["properties"].items() if name != "user_id"}
    if given["headers"] is not None:
        properties["application_headers"] = rich(given["headers"])
    return amqp.Message(b64decode(given["body"]), **properties)
