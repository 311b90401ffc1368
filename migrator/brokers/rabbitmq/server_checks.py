"""Facts about a RabbitMQ server and the arguments of an endpoint's queues, and what they mean for messages.

Source: RabbitMQ, "Priority Queue Support", "Delivery Acknowledgement Timeout" (on since 3.8.17, 30 minutes unless
``consumer_timeout`` is set; AMQP does not show it); dramatiq/brokers/rabbitmq.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from migrator.brokers.protocol import BrokerFacts
from migrator.brokers.rabbitmq.management import URL_VARIABLE, Management
from migrator.brokers.rabbitmq.queues import (
    as_text,
    expected_arguments,
    find_arguments,
    rabbit_queues,
)
from migrator.brokers.rabbitmq.server import QueueCount, RabbitmqServer, count
from migrator.plan.model import Endpoint
from migrator.report import Finding, Severity
from migrator.wire.message import System
from migrator.wire.queue_address import QueueAddress

#: RabbitMQ closes the channel of a worker that has held a message for longer.
CONSUMER_TIMEOUT_S = 1800.0


def find_facts(server: RabbitmqServer, management: Management | None, endpoint: Endpoint) -> BrokerFacts:
    """Ask the server about itself and the endpoint's queues.

    Raises:
        UnreachableError: It does not answer.
    """
    arguments: dict[QueueAddress, Mapping[str, Any]] = {}
    counts: dict[QueueAddress, QueueCount | None] = {}
    kinds: dict[QueueAddress, str] = {}
    with server.connected() as connection:
        properties = connection.server_properties
        identity = server.identity(connection)
        for at in rabbit_queues(endpoint):
            counted = counts[at.address] = count(connection, at.queue)
            details = management.queue(server.virtual_host, at.queue) if management else None
            if details is not None:
                arguments[at.address], kinds[at.address] = details.arguments, details.kind
            elif counted is not None:
                arguments[at.address] = find_arguments(connection, at.address)
    timeouts = [float(given["x-consumer-timeout"]) / 1000 for given in arguments.values() if _has_timeout(given)]
    timeout_s = min(timeouts, default=CONSUMER_TIMEOUT_S)
    extra = {f"queue {address.wire_queue}": as_text(given) for address, given in arguments.items()}
    extra["consumer_timeout_s"] = (
        f"{timeout_s:g}" if timeouts else f"{timeout_s:g} unless the server's settings say otherwise"
    )
    return BrokerFacts(
        where=server.where,
        server=f"rabbitmq {properties.get('version', '?')}",
        role="master",
        used_memory_bytes=0,
        maxmemory_bytes=0,
        eviction_policy="noeviction",
        persistence="durable queues",
        identity=identity,
        findings=tuple(_findings(server.where, endpoint, arguments, kinds))
        + tuple(_unseen(server.where, counts, management)),
        visibility_timeout_s=timeout_s if endpoint.system is System.CELERY else None,
        extra=extra,
    )


def _has_timeout(arguments: Mapping[str, Any]) -> bool:
    return isinstance(arguments.get("x-consumer-timeout"), int)


def _findings(
    where: str,
    endpoint: Endpoint,
    arguments: Mapping[QueueAddress, Mapping[str, Any]],
    kinds: Mapping[QueueAddress, str],
) -> Iterator[Finding]:
    for address, given in arguments.items():
        queue = f"{where} {address.wire_queue}"
        found = as_text(given)
        if address.system is System.DRAMATIQ:
            expected = expected_arguments(address)
            if any(given.get(name) != value for name, value in expected.items()):
                what = "Dramatiq declares this queue with other dead letter arguments"
                remedy = "find out what declared it; Dramatiq's workers can't use it as it is"
                yield _finding("BROKER-QUEUE-ARGUMENTS", Severity.WARNING, queue, what, found, remedy)
        if given.get("x-message-ttl") is not None or given.get("x-max-length") is not None:
            what, remedy = "the queue drops messages by itself", "remove the limit for the duration of the migration"
            yield _finding("BROKER-QUEUE-DROPS", Severity.WARNING, queue, what, found, remedy)
        if "quorum" in (kinds.get(address), given.get("x-queue-type")):
            what = "quorum queues have no priorities, and browsing a message counts as a delivery"
            remedy = "rehearse on a copy first; this tool is tested with classic queues"
            yield _finding("BROKER-QUORUM", Severity.WARNING, queue, what, "quorum", remedy)


def _unseen(
    where: str, counts: Mapping[QueueAddress, QueueCount | None], management: Management | None
) -> Iterator[Finding]:
    busy = {
        address.wire_queue: counted.consumers for address, counted in counts.items() if counted and counted.consumers
    }
    if busy and management is None:
        yield _finding(
            "BROKER-UNACKNOWLEDGED",
            Severity.WARNING,
            where,
            "workers hold messages that AMQP does not show, delayed ones above all",
            ", ".join(f"{queue}: {number} consumers" for queue, number in busy.items()),
            f"stop the workers, which returns all of them, or name the management plugin in {URL_VARIABLE}",
        )


def _finding(code: str, severity: Severity, where: str, what: str, found: str, remedy: str) -> Finding:  # noqa: PLR0917
    return Finding(code=code, severity=severity, where=where, what=what, found=found, remedy=remedy)
