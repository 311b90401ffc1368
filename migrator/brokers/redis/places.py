"""What a Redis server holds besides the lists that the plan names: each list and hash of messages of either system.

A list is a queue of Celery if its oldest element is a message of a task; results, events and control messages are none.
Dramatiq's hashes of bodies are found by their names. Dead letters (``.XQ``) are none: nobody runs them by himself.

Source: kombu/transport/redis.py (``_q_for_pri``, ``_kombu.binding.…``, ``unacked``, ``global_keyprefix``);
dramatiq/brokers/redis/dispatch.lua.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import redis

from migrator.brokers.decode import read_message
from migrator.brokers.protocol import Place, PlaceKind, label
from migrator.brokers.redis.celery import read_unacked
from migrator.brokers.redis.keys import SEPARATOR, celery_lists, dramatiq_list
from migrator.brokers.redis.server import RedisServer
from migrator.plan.model import Endpoint
from migrator.wire.message import Side, State, System
from migrator.wire.queue_address import QueueAddress

#: How many messages of a place are read, at each end.
_LOOK = 1000
_PAGE = 10_000
_STEP = re.compile(r"(?P<separator>\x06\x16|:)(?P<step>\d{1,3})$")


@dataclass(slots=True, kw_only=True)
class _Database:
    """One database of the server, with the endpoints that are in it."""

    client: Any
    where: str
    #: None for one that holds an endpoint.
    number: int | None
    #: Every broker of the plan on the server.
    brokers: tuple[str, ...]
    endpoints: Sequence[Endpoint]
    prefixes: tuple[str, ...] = ()
    found: dict[tuple[PlaceKind, str], Place] = field(default_factory=dict)

    def note(self, kind: PlaceKind, system: System, queue: str, messages: int, tasks: set[str], line: str = "") -> None:  # noqa: PLR0917
        """Add messages to a place."""
        kind = kind if self.number is None else PlaceKind.DATABASE
        first = tuple(label(one) for one in self.endpoints if one.system is system)
        place = self.found.get((kind, queue)) or Place(
            kind=kind,
            where=self.where,
            brokers=tuple(dict.fromkeys((*first, *self.brokers))),
            queue=queue,
            database=self.number,
            messages=0,
            line=line if self.number is None else "",
        )
        messages += place.messages or 0
        self.found[kind, queue] = replace(place, messages=messages, tasks=place.tasks | tasks)


def find_places(server: RedisServer, endpoints: Sequence[tuple[Endpoint, int]]) -> list[Place]:
    """Return what a server holds outside of the queues of its endpoints.

    Args:
        server: Connected to any database.
        endpoints: The endpoints on it, each with the number of its database.
    """
    found: list[Place] = []
    brokers = tuple(label(endpoint) for endpoint, _ in endpoints)
    with server.translated():
        inside = {number for _, number in endpoints}
        others = {int(name.removeprefix("db")) for name in server.client.info("keyspace")}
        for number in sorted(inside | others):
            with server.other_database(number) as client:
                database = _Database(
                    client=client,
                    where=f"{server.where.partition('?')[0].rpartition('/')[0]}/{number}",
                    number=None if number in inside else number,
                    brokers=brokers,
                    endpoints=[endpoint for endpoint, at in endpoints if at == number],
                )
                try:
                    _look(database)
                except redis.exceptions.NoPermissionError:
                    # An account with rights to its own keys: others are somebody else's.
                    if number in inside:
                        raise
                found += database.found.values()
    return found


def _look(database: _Database) -> None:
    client = database.client
    bindings = [_text(name) for name in client.scan_iter(match="*_kombu.binding.*", count=_PAGE, _type="SET")]
    hashes = [_text(name) for name in client.scan_iter(match="*unacked", count=_PAGE, _type="HASH")]
    prefixes = {name.partition("_kombu.binding.")[0] for name in bindings}
    prefixes |= {name.removesuffix("unacked") for name in hashes}
    database.prefixes = tuple(sorted(prefixes, key=len, reverse=True))
    _celery_lists(database)
    for name in hashes:
        _unacked(database, name)
    _dramatiq(database)


def _celery_lists(database: _Database) -> None:
    client = database.client
    own = {name for one in _of(database, System.CELERY) for queue in one.queues for name in celery_lists(one, queue)}
    own |= {
        dramatiq_list(one, wire)
        for one in _of(database, System.DRAMATIQ)
        for queue in one.queues
        for wire in (queue, f"{queue}.DQ")
    }
    names = sorted(_text(name) for name in client.scan_iter(count=_PAGE, _type="LIST"))
    for name in names:
        if name in own or name.startswith("tqm:"):
            continue
        if not _tasks(System.CELERY, client.lrange(name, -1, -1)):
            continue
        ends = client.lrange(name, 0, _LOOK - 1) + client.lrange(name, -_LOOK, -1)
        kind, queue, line = _named(database, name)
        database.note(kind, System.CELERY, queue, client.llen(name), _tasks(System.CELERY, ends), line)


def _named(database: _Database, name: str) -> tuple[PlaceKind, str, str]:
    """Return what a list is, its queue, and the line that would make it the plan's."""
    match = _STEP.search(name)
    for endpoint in _of(database, System.CELERY):
        for queue in endpoint.queues:
            full = f"{endpoint.key_prefix}{queue}"
            if match is None or name[: match.start()] != full:
                continue
            if match["separator"] != endpoint.priority_separator:
                line = f'priority_separator = "{match["separator"]}" under [{label(endpoint)}]'
                return PlaceKind.SEPARATOR, name, line.replace("\x06\x16", "\\u0006\\u0016")
            steps = sorted({*endpoint.priority_steps, int(match["step"])})
            return PlaceKind.STEP, name, f"priority_steps = {steps} under [{label(endpoint)}]"
    queue = name[: match.start()] if match and match["separator"] == SEPARATOR else name
    endpoints = _of(database, System.CELERY)
    known = {endpoint.key_prefix for endpoint in endpoints}
    prefix = next((prefix for prefix in database.prefixes if queue.startswith(prefix)), "")
    if prefix not in known and prefix:
        return PlaceKind.PREFIX, queue, ""
    first = next((one for one in endpoints if queue.startswith(one.key_prefix)), None)
    line = _with(first, queue.removeprefix(first.key_prefix)) if first else ""
    return PlaceKind.QUEUE, queue, line


def _unacked(database: _Database, name: str) -> None:
    """Note messages that workers have taken from queues outside of the plan."""
    prefix = name.removesuffix("unacked")
    own = {queue for one in _of(database, System.CELERY) if one.key_prefix == prefix for queue in one.queues}
    for _, message, queue, _ in read_unacked(database.client, name):
        if queue not in own and (tasks := _tasks(System.CELERY, [message])):
            database.note(PlaceKind.UNACKED, System.CELERY, f"{prefix}{queue}", 1, tasks)


def _dramatiq(database: _Database) -> None:
    client = database.client
    endpoints = _of(database, System.DRAMATIQ)
    own = {
        f"{dramatiq_list(one, queue)}{delayed}" for one in endpoints for queue in one.queues for delayed in ("", ".DQ")
    }
    for key in sorted(_text(name) for name in client.scan_iter(match="*.msgs", count=_PAGE, _type="HASH")):
        name = key.removesuffix(".msgs")
        if name in own or name.endswith(".XQ") or name.startswith("tqm:"):
            continue
        bodies = [body for _, body in islice(client.hscan_iter(key, count=500), _LOOK)]
        if tasks := _tasks(System.DRAMATIQ, bodies):
            namespace, _, wire = name.rpartition(":")
            endpoint = next((one for one in endpoints if one.namespace == namespace), None)
            queue = wire.removesuffix(".DQ")
            kind = PlaceKind.QUEUE if endpoint else PlaceKind.NAMESPACE
            line = _with(endpoint, queue) if endpoint else ""
            database.note(kind, System.DRAMATIQ, f"{namespace}:{queue}", client.hlen(key), tasks, line)


def _of(database: _Database, system: System) -> list[Endpoint]:
    return [endpoint for endpoint in database.endpoints if endpoint.system is system]


def _with(endpoint: Endpoint, queue: str) -> str:
    names = ", ".join(f'"{name}"' for name in (*endpoint.queues, queue))
    return f"queues = [{names}] under [{label(endpoint)}]"


def _tasks(system: System, messages: Iterable[Any]) -> set[str]:
    """Return the names of the tasks in these messages; what is no message of that system has none."""
    address = QueueAddress(Side.LEGACY, system, "")
    return {task for raw in messages if (task := read_message(address, "", raw, State.READY).task)}


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")
