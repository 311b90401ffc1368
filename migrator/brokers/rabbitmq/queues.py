"""Names of queues on RabbitMQ, and the arguments that each system declares them with.

Our queues begin with ``tqm.``: ``tqm.lock`` (exclusive: it is deleted with the connection that holds it),
``tqm.moving.…`` (taken, not yet moved; each message has a copy id by then), ``tqm.passed.…`` (filtered out),
``tqm.kept.…`` (quarantined, with the reason), ``tqm.arriving.…`` (arrived from another server, not yet in their queue),
``tqm.alive`` (empty, and gone after a restart of the server), ``tqm.taken`` (empty; marks a deduplication log as valid
for this server), ``tqm.run.…`` and ``tqm.lease.…`` (whose run it is, and who is at it; the latter is exclusive),
``tqm.aside.…`` (of a rehearsal, in its scratch virtual host). They are deleted when a run leaves them empty.

Source: dramatiq/brokers/rabbitmq.py (``_declare_queue`` and its neighbours); kombu/entity.py; migrator/tasks/celery.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import amqp

from migrator.brokers.rabbitmq.server import count
from migrator.brokers.redis.keys import RedisQueue
from migrator.plan.model import Endpoint
from migrator.wire.message import Side, System
from migrator.wire.queue_address import QueueAddress

LOCK = "tqm.lock"
#: Not durable: it is gone after a restart of the server.
ALIVE = "tqm.alive"
#: Its arguments hold the number of the deduplication log that belongs to it.
TAKEN = "tqm.taken"
#: Prefix of a queue whose copies no worker may run.
ASIDE = "tqm.aside."
#: The unified app declares its queue with this; without it RabbitMQ ignores priorities.
UNIFIED_MAX_PRIORITY = 9
_MISMATCH = re.compile(r"inequivalent arg '(?P<name>[^']+)' .* current is (?P<current>.*)$")
_VALUE = re.compile(r"the value '(?P<value>[^']*)' of type '(?P<type>[^']*)'")


@dataclass(frozen=True, slots=True, kw_only=True)
class RabbitQueue:
    """One queue from which messages are taken, and our queues for it."""

    address: QueueAddress
    queue: str
    moving: str
    filtered_out: str
    quarantined: str

    def as_redis_queue(self) -> RedisQueue:
        """Return the queue in the form that batches use; copies get ids when they are taken, so ``bodies`` is set."""
        return RedisQueue(
            address=self.address, list=self.queue, bodies="amqp", claim=self.moving, filtered_out=self.filtered_out
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueForm:
    """How a queue is declared."""

    name: str
    durable: bool = True
    auto_delete: bool = False
    arguments: Mapping[str, Any]


#: Tells how a queue has to be declared where it is missing.
FormOf = Callable[[QueueAddress], QueueForm]


def run_queue(plan_name: str) -> str:
    """Return the queue with the record of a plan's run."""
    return f"tqm.run.{plan_name}"


def lease_queue(plan_name: str) -> str:
    """Return the exclusive queue of the connection that has the lease on a plan's run."""
    return f"tqm.lease.{plan_name}"


def rabbit_queues(endpoint: Endpoint) -> tuple[RabbitQueue, ...]:
    """Return every queue of an endpoint, in the order in which they are emptied."""
    found = []
    for queue in endpoint.queues:
        for delayed in (False, True) if endpoint.system is System.DRAMATIQ else (False,):
            found.append(rabbit_queue(QueueAddress(endpoint.side, endpoint.system, queue, delayed)))
    return tuple(found)


def rabbit_queue(address: QueueAddress) -> RabbitQueue:
    """Return the names for one queue."""
    rest = f"{address.side.value}.{address.system.value}.{address.wire_queue}"
    return RabbitQueue(
        address=address,
        queue=address.wire_queue,
        moving=f"tqm.moving.{rest}",
        filtered_out=f"tqm.passed.{rest}",
        quarantined=f"tqm.kept.{rest}",
    )


def dead_queue(queue: str) -> str:
    """Return the name of Dramatiq's dead letters of a queue."""
    return f"{queue}.XQ"


def arriving_queue(endpoint: Endpoint) -> str:
    """Return the queue for what arrives from other servers for this endpoint."""
    return f"tqm.arriving.{endpoint.side.value}.{endpoint.system.value}"


def expected_arguments(address: QueueAddress) -> dict[str, Any]:
    """Return the arguments with which the queue's own system declares it, as far as they are known in advance."""
    if address.system is System.DRAMATIQ:
        return {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead_queue(address.queue)}
    return {"x-max-priority": UNIFIED_MAX_PRIORITY} if address.side is Side.UNIFIED else {}


def declare_missing(connection: Any, address: QueueAddress, form_of: FormOf) -> bool:
    """Declare a destination queue as its system would, if it is missing; return whether it was created."""
    if count(connection, address.wire_queue) is not None:
        return False
    declare(connection, form_of(address))
    return True


def declare(connection: Any, form: QueueForm) -> None:
    """Declare a queue."""
    channel = connection.channel()
    channel.queue_declare(
        queue=form.name,
        durable=form.durable,
        auto_delete=form.auto_delete,
        arguments=dict(form.arguments) or None,
    )
    channel.close()


def declare_own(connection: Any, queue: str) -> bool:
    """Declare one of our queues if it is missing; return whether it was created."""
    if count(connection, queue) is not None:
        return False
    channel = connection.channel()
    channel.queue_declare(queue=queue, durable=True, auto_delete=False)
    channel.close()
    return True


def delete_if_empty(connection: Any, queue: str) -> None:
    """Delete one of our queues unless it holds something."""
    channel = connection.channel()
    try:
        channel.queue_delete(queue=queue, if_empty=True)
        channel.close()
    except (amqp.exceptions.NotFound, amqp.exceptions.PreconditionFailed):
        return


def find_arguments(connection: Any, address: QueueAddress) -> dict[str, Any]:
    """Return the arguments of an existing queue, as far as AMQP shows them: by declaring it again until it matches.

    An equal declaration changes nothing; an unequal one is refused with the current value (406).
    """
    arguments: dict[str, Any] = dict(expected_arguments(address))
    for _ in range(8):
        channel = connection.channel()
        try:
            channel.queue_declare(queue=address.wire_queue, durable=True, auto_delete=False, arguments=arguments)
        except amqp.exceptions.PreconditionFailed as refusal:
            text = str(getattr(refusal, "reply_text", refusal))
            if not _learn(arguments, text):
                return {**arguments, "?": text}
            continue
        channel.close()
        return arguments
    return arguments


def _learn(arguments: dict[str, Any], text: str) -> bool:
    """Correct ``arguments`` by what a refusal says; return whether it said anything usable."""
    match = _MISMATCH.search(text)
    if match is None or not match["name"].startswith("x-"):
        return False
    value = _VALUE.match(match["current"])
    if value is None:
        return arguments.pop(match["name"], None) is not None
    number = value["type"] not in ("longstr", "shortstr")
    arguments[match["name"]] = int(value["value"]) if number else value["value"]
    return True


def as_text(arguments: Mapping[str, Any]) -> str:
    """Return arguments as text for people."""
    return ", ".join(f"{name}={value}" for name, value in sorted(arguments.items())) or "none"
