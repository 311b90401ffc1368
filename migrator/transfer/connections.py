"""The open connections to all servers of a plan, each opened once, and which endpoint is on which server."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from migrator.brokers.clock import server_time_s
from migrator.brokers.connect import connect
from migrator.brokers.redis.celery import CeleryRedis
from migrator.brokers.redis.dramatiq import DramatiqRedis
from migrator.brokers.redis.keys import LOCK, RedisQueue, celery_list, dramatiq_list, sources
from migrator.brokers.redis.pipeline import RedisPipeline
from migrator.brokers.redis.server import RedisServer
from migrator.errors import RefusedError
from migrator.plan.model import Endpoint, Plan
from migrator.transfer.lock import LIFE_MS
from migrator.translation.result import Translated
from migrator.wire.message import Side, System
from migrator.wire.queue_address import QueueAddress

_PROLONG_EVERY_S = 5.0

RedisBroker = DramatiqRedis | CeleryRedis


@dataclass(slots=True, kw_only=True)
class Connections:
    """Every broker of the plan; endpoints on one server and database share a connection."""

    plan: Plan
    #: By side and system.
    brokers: dict[tuple[Side, System], RedisBroker]
    #: By identity.
    servers: dict[str, RedisServer]
    #: Identity of the server of each endpoint.
    identities: dict[tuple[Side, System], str]
    pipelines: dict[str, RedisPipeline] = field(default_factory=dict)
    #: A unified message that is due later than this (ms since the epoch) is parked; None if none is.
    park_after_ms: float | None = None
    #: How long before its ETA a parked message is released.
    release_lead_ms: float = 0.0
    #: By how many seconds the unified server's clock is ahead of our monotonic clock; None until it was asked.
    clock_offset_s: float | None = None
    #: When the locks were last extended, by the monotonic clock.
    prolonged_at: float = field(default_factory=time.monotonic)

    def pipeline(self, identity: str) -> RedisPipeline:
        """Return the pipeline to a server, opened on first use."""
        pipeline = self.pipelines.get(identity)
        if pipeline is None:
            pipeline = self.pipelines[identity] = RedisPipeline(self.servers[identity])
        return pipeline

    def now_ms(self) -> float:
        """Return the time of the unified server in ms since the epoch; it decides whether an ETA is past, not ours.

        The server is asked once; from then on the monotonic clock counts. RabbitMQ does not report its time, so another
        server of the plan that is on Redis is asked instead; if there is none, our own clock is used.
        """
        if self.clock_offset_s is None:
            identity = self.identities[Side.UNIFIED, self.plan.unified.system]
            server = self.servers.get(identity) or next(iter(self.servers.values()), None)
            there_s = time.time()
            if server is not None:
                with server.translated():
                    there_s = server_time_s(server.client)
            self.clock_offset_s = there_s - time.monotonic()
        return (time.monotonic() + self.clock_offset_s) * 1000

    def drop_pipelines(self) -> None:
        """Close every pipeline; the outcome of what was in flight on them is unknown."""
        while self.pipelines:
            self.pipelines.popitem()[1].close()

    def prolong(self, token: str) -> None:
        """Extend the lock on every server, at most every few seconds: scripts extend it only where they run.

        Raises:
            redis.RedisError: A server does not answer, or the lock is no longer ours.
        """
        if time.monotonic() - self.prolonged_at >= _PROLONG_EVERY_S:
            for server in self.servers.values():
                server.run("prolong", [LOCK], [token, LIFE_MS])
            self.prolonged_at = time.monotonic()

    def close(self) -> None:
        """Close every connection."""
        self.drop_pipelines()
        for broker in self.brokers.values():
            broker.close()
        for server in self.servers.values():
            server.close()

    def identity(self, address: QueueAddress) -> str:
        """Return the identity of the server that holds a queue."""
        return self.identities[address.side, address.system]

    def parks(self, address: QueueAddress, eta_ms: int) -> bool:
        """Say whether a message with this ETA is parked."""
        return self.park_after_ms is not None and eta_ms > self.park_after_ms and address.side is Side.UNIFIED

    def endpoint(self, address: QueueAddress) -> Endpoint:
        """Return the endpoint that a queue belongs to."""
        return self.brokers[address.side, address.system].endpoint

    def redis_queues(self, side: Side) -> tuple[RedisQueue, ...]:
        """Return every Redis queue on one side."""
        endpoints = (self.plan.unified,) if side is Side.UNIFIED else self.plan.legacy
        return tuple(redis_queue for endpoint in endpoints for redis_queue in sources(endpoint))

    def target(self, translated: Translated) -> tuple[str, str]:
        """Return the list that a message goes into, and the hash of bodies (Dramatiq) or an empty string."""
        endpoint = self.endpoint(translated.address)
        if translated.address.system is System.DRAMATIQ:
            name = dramatiq_list(endpoint, translated.address.wire_queue)
            return name, f"{name}.msgs"
        return celery_list(endpoint, translated.address.queue, translated.priority), ""


def open_connections(plan: Plan, environ: Mapping[str, str]) -> Connections:
    """Connect to every broker of the plan.

    Raises:
        UnreachableError: One does not answer.
        RefusedError: Legacy and unified Celery share a queue.
    """
    opened: dict[tuple[Side, System], RedisBroker] = {}
    servers: dict[str, RedisServer] = {}
    identities: dict[tuple[Side, System], str] = {}
    try:
        for endpoint in (*plan.legacy, plan.unified):
            broker: Any = connect(endpoint, environ)
            opened[endpoint.side, endpoint.system] = broker
            with broker.server.translated():
                identity = broker.server.identity()
            identities[endpoint.side, endpoint.system] = identity
            if identity in servers:
                broker.server.close()
                broker.server = servers[identity]
            servers[identity] = broker.server
    except BaseException:
        for broker in opened.values():
            broker.close()
        raise
    connections = Connections(plan=plan, brokers=opened, servers=servers, identities=identities)
    _refuse_shared_queues(connections)
    return connections


def _refuse_shared_queues(connections: Connections) -> None:
    legacy = connections.plan.endpoint(System.CELERY)
    shared = set(connections.plan.unified.queues) & set(legacy.queues) if legacy else set()
    same = (
        connections.identities.get((Side.LEGACY, System.CELERY)) == connections.identities[Side.UNIFIED, System.CELERY]
    )
    if shared and same:
        connections.close()
        raise RefusedError(
            "unified.queues",
            "legacy and unified tasks share a queue, so old and new messages can't be told apart",
            found=", ".join(sorted(shared)),
            remedy="give the unified side a queue of its own",
        )
