"""Move everything that waits in one queue to another on the same RabbitMQ, in order; for a rehearsal's copies."""

from __future__ import annotations

from collections import deque
from typing import Any

import amqp

from migrator.brokers.rabbitmq.codec import body_of
from migrator.brokers.rabbitmq.queues import declare_own
from migrator.brokers.rabbitmq.server import RabbitmqServer, count

_BATCH = 500
_WAIT_S = 10.0


def carry_all(server: RabbitmqServer, source: str, target: str, *, declare: bool) -> int:
    """Move all messages of ``source`` to ``target``; return how many. A missing queue counts as empty.

    Args:
        declare: Declare the target if it is missing.

    Raises:
        UnreachableError: The server went away; no message is lost, a batch is moved as a whole or not at all.
    """
    with server.connected() as connection:
        counted = count(connection, source)
        if counted is None or not counted.ready:
            return 0
        if declare:
            declare_own(connection, target)
        channel, waiting = connection.channel(), deque[Any]()
        channel.tx_select()
        channel.basic_qos(prefetch_size=0, prefetch_count=_BATCH, a_global=False)
        channel.basic_consume(source, callback=waiting.append)
        for done in range(1, counted.ready + 1):
            while not waiting:
                connection.drain_events(timeout=_WAIT_S)
            message = waiting.popleft()
            channel.basic_publish(_again(message), exchange="", routing_key=target)
            if done % _BATCH == 0 or done == counted.ready:
                channel.basic_ack(message.delivery_tag, multiple=True)
                channel.tx_commit()
        return counted.ready


def _again(message: Any) -> Any:
    properties = {name: value for name, value in message.properties.items() if name != "user_id"}
    return amqp.Message(body_of(message), **properties)
