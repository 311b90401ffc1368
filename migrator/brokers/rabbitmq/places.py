"""What a virtual host holds besides the queues that the plan names.

The management plugin lists every queue with its arguments and its messages, those held by workers included, and every
exchange. Without it the names have to be known: those that the source declares, and those of Celery's native delayed
delivery, are asked for one by one. Exclusive queues and queues of replies and events hold no tasks; dead letters of
Dramatiq (``.XQ``) are run by nobody.

Source: the plugin's HTTP API; kombu/transport/native_delayed_delivery.py (``celery_delayed_0`` to ``…_27``);
rabbitmq-delayed-message-exchange (an exchange of type ``x-delayed-message``, with ``messages_delayed``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from migrator.brokers.protocol import Place, PlaceKind, label
from migrator.brokers.rabbitmq.management import Management
from migrator.brokers.rabbitmq.queues import dead_queue, rabbit_queues
from migrator.brokers.rabbitmq.server import RabbitmqServer, count
from migrator.plan.model import Endpoint
from migrator.wire.message import System

NATIVE_DELAY = "celery_delayed_"
_LEVELS = 28


def find_places(
    server: RabbitmqServer,
    management: Management | None,
    endpoints: Sequence[Endpoint],
    declared: Mapping[System, Iterable[str]],
) -> list[Place]:
    """Return what a virtual host holds outside of the queues of its endpoints.

    Args:
        server: The virtual host.
        management: The plugin, if it is named.
        endpoints: The endpoints in it.
        declared: Names of queues in the source.
    """
    known = {at.queue for endpoint in endpoints for at in rabbit_queues(endpoint)}
    known |= {dead_queue(queue) for endpoint in endpoints for queue in endpoint.queues}
    if management is not None:
        listed = management.ask("GET", "queues", server.virtual_host) or ()
        exchanges = management.ask("GET", "exchanges", server.virtual_host) or ()
        return [*_listed(server, endpoints, known, listed), *delayed_exchanges(server, endpoints, exchanges)]
    names = [f"{NATIVE_DELAY}{level}" for level in range(_LEVELS)]
    for endpoint in endpoints:
        for queue in declared.get(endpoint.system, ()):
            names += [queue, f"{queue}.DQ"] if endpoint.system is System.DRAMATIQ else [queue]
    found = []
    with server.connected() as connection:
        for name in dict.fromkeys(names):
            counted = count(connection, name) if name not in known else None
            if counted is not None and counted.ready:
                found.append(_place(server, endpoints, name, counted.ready))
    return found


def _listed(
    server: RabbitmqServer, endpoints: Sequence[Endpoint], known: set[str], queues: Iterable[Mapping[str, Any]]
) -> Iterator[Place]:
    for facts in queues:
        name, held = str(facts["name"]), int(facts.get("messages") or 0)
        if held and name not in known and not _is_ours_or_private(name, facts):
            routed = {**(facts.get("effective_policy_definition") or {}), **(facts.get("arguments") or {})}
            moves_on = "x-dead-letter-exchange" in routed and "x-message-ttl" in routed
            yield _place(server, endpoints, name, held, PlaceKind.DEAD_LETTER_ROUTE if moves_on else PlaceKind.QUEUE)


def delayed_exchanges(
    server: RabbitmqServer, endpoints: Sequence[Endpoint], exchanges: Iterable[Mapping[str, Any]]
) -> Iterator[Place]:
    """Yield the exchanges that hold messages, or may: older versions of the plugin don't tell."""
    for facts in exchanges:
        held = facts.get("messages_delayed")
        if facts.get("type") == "x-delayed-message" and held != 0:
            yield Place(
                kind=PlaceKind.DELAYED_EXCHANGE,
                where=server.where,
                brokers=tuple(map(label, endpoints)),
                queue=str(facts["name"]),
                messages=held,
            )


def _is_ours_or_private(name: str, facts: Mapping[str, Any]) -> bool:
    """True for queues of ours, and for those that belong to one connection or worker."""
    private = facts.get("exclusive") or (facts.get("auto_delete") and "x-expires" in (facts.get("arguments") or {}))
    return bool(private) or name.startswith(("tqm.", "amq.", "celeryev.")) or name.endswith((".XQ", ".pidbox"))


def _place(
    server: RabbitmqServer,
    endpoints: Sequence[Endpoint],
    name: str,
    held: int,
    kind: PlaceKind = PlaceKind.QUEUE,
) -> Place:
    delayed = name.endswith(".DQ")
    system = System.DRAMATIQ if delayed else System.CELERY
    likely = sorted(endpoints, key=lambda endpoint: endpoint.system is not system)
    first, queue = likely[0], name.removesuffix(".DQ")
    line = ""
    if name.startswith(NATIVE_DELAY):
        kind = PlaceKind.NATIVE_DELAY
    elif kind is PlaceKind.QUEUE:
        names = ", ".join(f'"{item}"' for item in (*first.queues, queue))
        line = f"queues = [{names}] under [{label(first)}]"
    return Place(kind=kind, where=server.where, brokers=tuple(map(label, likely)), queue=name, messages=held, line=line)
