"""Delete queues on RabbitMQ that are not needed once a rollback is ruled out: the legacy ones and the transfer's.

A legacy queue is deleted only if it is empty and nobody consumes it; the server itself checks that. What happens to
quarantined messages was decided before.
"""

from __future__ import annotations

import amqp

from migrator.brokers.rabbitmq.queues import ALIVE, TAKEN, arriving_queue, dead_queue, rabbit_queues
from migrator.brokers.rabbitmq.server import RabbitmqServer
from migrator.errors import RefusedError
from migrator.plan.model import Endpoint
from migrator.wire.message import Side, System


def removable(endpoint: Endpoint, *, keep: bool = False) -> tuple[str, ...]:
    """Return the queues to delete; the unified side's own queues are never among them.

    Args:
        endpoint: Whose queues.
        keep: Legacy workers may stay, so the legacy queues do too.
    """
    found = rabbit_queues(endpoint)
    names = [name for at in found for name in (at.moving, at.filtered_out, at.quarantined)]
    names += [arriving_queue(endpoint), ALIVE, TAKEN]
    if endpoint.side is Side.LEGACY and not keep:
        names += [at.queue for at in found]
        if endpoint.system is System.DRAMATIQ:
            names += [dead_queue(queue) for queue in endpoint.queues]
    return tuple(dict.fromkeys(names))


def remove(server: RabbitmqServer, endpoint: Endpoint, *, keep: bool = False) -> None:
    """Delete the queues of :func:`removable`; one that does not exist is no error.

    Raises:
        RefusedError: A queue holds a message again, or somebody consumes it.
    """
    quarantined = {at.quarantined for at in rabbit_queues(endpoint)}
    with server.connected() as connection:
        for queue in removable(endpoint, keep=keep):
            channel = connection.channel()
            try:
                channel.queue_delete(queue=queue, if_empty=queue not in quarantined, if_unused=True)
                channel.close()
            except amqp.exceptions.NotFound:
                continue
            except amqp.exceptions.PreconditionFailed as refusal:
                remedy = "find out who uses it, then run the same command again"
                found = str(refusal)[:200]
                raise RefusedError(f"{server.where} {queue}", "is in use", found=found, remedy=remedy) from refusal
