"""Where a message can be that a worker would run later, outside of the queues that the plan names.

Each kind of server has a module of its own that finds them (``redis/places.py``, ``rabbitmq/places.py``); here is what
they have in common, and which of them stop a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing

from migrator.brokers.connect import has_rabbitmq
from migrator.brokers.protocol import Place
from migrator.brokers.rabbitmq.management import URL_VARIABLE
from migrator.inventory.declared_queues import declared_queues
from migrator.plan.leave import LeftQueue
from migrator.plan.model import Endpoint, Plan
from migrator.plan.placeholders import endpoint_url
from migrator.report import Finding, Severity
from migrator.wire.broker_url import BrokerKind, broker_kind, read_broker_url
from migrator.wire.message import System


def outside_places(plan: Plan, environ: Mapping[str, str], *, only: frozenset[str] = frozenset()) -> tuple[Place, ...]:
    """Return where the plan's servers hold messages outside of its queues, unless the plan leaves them alone.

    Args:
        plan: The plan.
        environ: Fills the references in the plan's URLs.
        only: Unified tasks to whose messages it is limited; empty for no limit.

    Raises:
        UnreachableError: A server does not answer.
    """
    declared: Mapping[System, Iterable[str]] = {}
    if has_rabbitmq(plan, environ) and not environ.get(URL_VARIABLE):
        declared = declared_queues(plan)
    found = [place for endpoints in servers(plan, environ) for place in _on_server(endpoints, environ, declared)]
    return tuple(
        place
        for place in found
        if not _is_left(plan.leaves, place) and (not (plan.scope or only) or any(_planned(plan, place, only)))
    )


def _on_server(
    endpoints: Sequence[Endpoint], environ: Mapping[str, str], declared: Mapping[System, Iterable[str]]
) -> list[Place]:
    urls = [endpoint_url(endpoint, environ) for endpoint in endpoints]
    if broker_kind(urls[0]) is BrokerKind.RABBITMQ:
        from migrator.brokers.rabbitmq.management import Management
        from migrator.brokers.rabbitmq.places import find_places as on_rabbitmq
        from migrator.brokers.rabbitmq.server import RabbitmqServer

        plugin = Management(environ[URL_VARIABLE]) if environ.get(URL_VARIABLE) else None
        return on_rabbitmq(RabbitmqServer(urls[0]), plugin, endpoints, declared)
    from migrator.brokers.redis.places import find_places as on_redis
    from migrator.brokers.redis.server import RedisServer

    databases = [read_broker_url(url).database for url in urls]
    with closing(RedisServer(urls[0])) as server:
        return on_redis(server, list(zip(endpoints, databases, strict=True)))


def servers(plan: Plan, environ: Mapping[str, str]) -> tuple[tuple[Endpoint, ...], ...]:
    """Return the plan's endpoints by server; on RabbitMQ by virtual host."""
    groups: dict[object, list[Endpoint]] = {}
    for endpoint in (*plan.legacy, plan.unified):
        read = read_broker_url(endpoint_url(endpoint, environ))
        space = read.virtual_host if read.kind is BrokerKind.RABBITMQ else ""
        host = "127.0.0.1" if read.host == "localhost" else read.host
        groups.setdefault((read.kind, host, read.port, read.socket, space), []).append(endpoint)
    return tuple(tuple(group) for group in groups.values())


def place_findings(plan: Plan, places: Iterable[Place]) -> Iterator[Finding]:
    """Yield what each place means for a migration.

    One in another database is an error only if it holds messages of the plan's tasks: it may be somebody else's.
    """
    for place in places:
        known = sorted(_planned(plan, place))
        elsewhere = place.database is not None and not known
        count = "messages" if place.messages is None else f"{place.messages} messages"
        names = ", ".join((known or sorted(place.tasks))[:3])
        add = f"add `{place.line}` to the plan, or leave" if place.line else "let its workers empty it, or leave"
        yield Finding(
            code="QUEUE-OUTSIDE",
            severity=Severity.WARNING if elsewhere else Severity.ERROR,
            where=f"{place.where} {place.queue}",
            what=f"{place.kind.value} holds {count}, which nobody would run after the cutover",
            found=f"of {names}" if names else "",
            remedy=f"{add} it alone: {place.leave}",
        )


def _is_left(leaves: Iterable[LeftQueue], place: Place) -> bool:
    return any(
        left.broker in place.brokers and left.database == place.database and left.fits(place.queue) for left in leaves
    )


def _planned(plan: Plan, place: Place, only: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield the tasks of a place that the plan names, or that become one of these unified ones."""
    for task in place.tasks:
        mapped = {mapping.unified for system in System if (mapping := plan.mapping(system, task)) is not None}
        mapped |= {task} if plan.task(task) is not None else set()
        retired = any(plan.retirement(system, task) is not None for system in System)
        if (mapped & only) if only else (mapped or retired):
            yield task
