"""Read how the queues of a plan are declared on RabbitMQ, declare them alike elsewhere, and delete them there.

A rehearsal does that in a virtual host that had none of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import amqp

from migrator.brokers.rabbitmq.management import Management
from migrator.brokers.rabbitmq.queues import (
    ALIVE,
    ASIDE,
    LOCK,
    TAKEN,
    QueueForm,
    arriving_queue,
    dead_queue,
    declare,
    find_arguments,
    rabbit_queues,
)
from migrator.brokers.rabbitmq.server import RabbitmqServer, count
from migrator.errors import RefusedError
from migrator.plan.model import Endpoint
from migrator.wire.message import System


def read_declarations(
    server: RabbitmqServer, management: Management | None, endpoint: Endpoint
) -> tuple[QueueForm, ...]:
    """Return how an endpoint's queues were declared, those that exist."""
    names = {at.queue: at.address for at in rabbit_queues(endpoint)}
    dead = [dead_queue(queue) for queue in endpoint.queues] if endpoint.system is System.DRAMATIQ else []
    if management is not None:
        found = ((name, management.ask("GET", "queues", server.virtual_host, name)) for name in (*names, *dead))
        return tuple(
            QueueForm(
                name=name,
                durable=bool(facts.get("durable", True)),
                auto_delete=bool(facts.get("auto_delete")),
                arguments=facts.get("arguments") or {},
            )
            for name, facts in found
            if facts is not None
        )
    with server.connected() as connection:
        # AMQP does not show the arguments of a dead letter queue; the workers declare it as they do everywhere.
        return tuple(
            QueueForm(name=name, arguments=find_arguments(connection, address))
            for name, address in names.items()
            if count(connection, name) is not None
        )


def declare_like(server: RabbitmqServer, forms: Iterable[QueueForm]) -> None:
    """Declare queues like the real ones, except those whose arguments can't be found out."""
    with server.connected() as connection:
        for form in forms:
            if "?" in form.arguments:
                continue
            declare(connection, form)


def require_unused(server: RabbitmqServer, endpoints: Iterable[Endpoint]) -> None:
    """Refuse a virtual host in which a queue of these endpoints exists.

    Raises:
        RefusedError: One exists.
    """
    with server.connected() as connection:
        found = [name for name in queue_names(endpoints) if count(connection, name) is not None]
    if found:
        raise RefusedError(
            server.where,
            "the scratch virtual host has queues of the plan, and a rehearsal uses and deletes only its own",
            found=", ".join(found[:5]),
            remedy="delete them there, or name an empty virtual host with --rabbitmq",
        )


def delete_queues(server: RabbitmqServer, endpoints: Iterable[Endpoint]) -> None:
    """Delete the queues of these endpoints, whatever they hold: in a scratch virtual host that had none of them."""
    with server.connected() as connection:
        for name in queue_names(endpoints):
            with suppress(amqp.exceptions.NotFound):
                connection.channel().queue_delete(queue=name)


def queue_names(endpoints: Iterable[Endpoint]) -> tuple[str, ...]:
    """Return every queue that a rehearsal can create for these endpoints."""
    names: list[str] = []
    for endpoint in endpoints:
        for at in rabbit_queues(endpoint):
            names += [at.queue, at.moving, at.filtered_out, at.quarantined, ASIDE + at.queue]
        names += [dead_queue(queue) for queue in endpoint.queues] if endpoint.system is System.DRAMATIQ else []
        names.append(arriving_queue(endpoint))
    return tuple(dict.fromkeys((*names, LOCK, ALIVE, TAKEN)))
