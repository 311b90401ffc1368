"""Celery's queues on Redis, read without changing anything.

One list for each priority step. Messages that a worker has taken are in the hash ``unacked`` with their time in
``unacked_index``, shared by all queues of the database and without the name of the worker.

Source: kombu/transport/redis.py (``QoS``, ``_q_for_pri``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
from msgspec import Raw

from migrator.brokers.decode import read_message
from migrator.brokers.protocol import BrokerFacts, Depths, Owner
from migrator.brokers.redis.keys import PARKED, SEPARATOR, sources, unacked_keys
from migrator.brokers.redis.quarantine import count_quarantined, read_quarantined
from migrator.brokers.redis.server import RedisServer
from migrator.plan.model import Endpoint
from migrator.wire.message import Message, Side, State
from migrator.wire.queue_address import QueueAddress

_PAGE = 500


class _Info(msgspec.Struct):
    routing_key: str = ""


class _Properties(msgspec.Struct):
    delivery_info: _Info = msgspec.field(default_factory=_Info)
    priority: int | None = None


class _Routed(msgspec.Struct):
    properties: _Properties = msgspec.field(default_factory=_Properties)


class CeleryRedis:
    """The Celery queues of one endpoint.

    Args:
        endpoint: The endpoint of the plan.
        url: Its URL with the environment filled in.
    """

    def __init__(self, endpoint: Endpoint, url: str) -> None:
        self.endpoint = endpoint
        self.server = RedisServer(url)
        self.where = self.server.where

    def close(self) -> None:
        """Close the connections."""
        self.server.close()

    def facts(self) -> BrokerFacts:
        """Ask the server about itself."""
        return replace(self.server.facts(), visibility_timeout_s=self.endpoint.visibility_timeout_s)

    def depths(self) -> Depths:
        """Count the messages by queue and state; those with an ETA count as ready, because they share the list."""
        client = self.server.client
        counts = {(queue, state): 0 for queue in self.endpoint.queues for state in State}
        with self.server.translated():
            for redis_queue in sources(self.endpoint):
                counts[redis_queue.address.queue, State.READY] += client.llen(redis_queue.list) + client.llen(
                    redis_queue.filtered_out
                )
                counts[redis_queue.address.queue, State.MOVING] += client.llen(redis_queue.claim)
            for queue, _, _, _ in self.unacked():
                counts[queue, State.CLAIMED] += 1
            for key, number in count_quarantined(client, self.endpoint).items():
                counts[key] = counts.get(key, 0) + number
            if self.endpoint.side is Side.UNIFIED:
                counts[self.endpoint.queues[0], State.PARKED] += client.zcard(PARKED)
        return counts

    def owners(self) -> tuple[Owner, ...]:
        """Return one entry for each queue with unacknowledged messages; Celery does not record who holds them."""
        claimed: dict[str, int] = {}
        with self.server.translated():
            for queue, _, _, _ in self.unacked():
                claimed[queue] = claimed.get(queue, 0) + 1
        return tuple(
            Owner(id="", queue=queue, delayed=False, claimed=number, heartbeat_ms=None)
            for queue, number in sorted(claimed.items())
        )

    def unacked(self) -> Iterator[tuple[str, bytes, bytes, int]]:
        """Yield queue, tag, message and priority of the unacknowledged messages of this endpoint's queues."""
        for tag, message, queue, priority in read_unacked(self.server.client, unacked_keys(self.endpoint)[0]):
            if queue in self.endpoint.queues:
                yield queue, tag, message, priority

    def scan(self, *, queue: str | None = None) -> Iterator[Message]:
        """Yield every message without taking it."""
        with self.server.translated():
            for redis_queue in sources(self.endpoint):
                if queue in (None, redis_queue.address.queue):
                    yield from self._scan_list(redis_queue.address, redis_queue.claim, State.MOVING, from_tail=False)
                    yield from self._scan_list(redis_queue.address, redis_queue.list, State.READY, from_tail=True)
                    yield from self._scan_list(
                        redis_queue.address, redis_queue.filtered_out, State.READY, from_tail=False
                    )
            for name, _, message, _ in self.unacked():
                if queue in (None, name):
                    yield read_message(self._address(name), "", message, State.CLAIMED)
            for quarantined in read_quarantined(self.server.client, self.endpoint):
                address = next((s.address for s in sources(self.endpoint) if s.list == quarantined.list), None)
                address = address or self._address(self.endpoint.queues[0])
                if queue in (None, address.queue):
                    yield replace(
                        read_message(address, quarantined.copy_id, quarantined.raw, State.QUARANTINED),
                        state=State.QUARANTINED,
                    )
            if self.endpoint.side is Side.UNIFIED:
                yield from self._parked(queue)

    def _parked(self, queue: str | None) -> Iterator[Message]:
        for raw, _ in self.server.client.zscan_iter(PARKED, count=_PAGE):
            if queue in (None, self.endpoint.queues[0]):
                yield read_message(self._address(self.endpoint.queues[0]), "", raw, State.PARKED)

    def _scan_list(self, address: QueueAddress, key: str, state: State, *, from_tail: bool) -> Iterator[Message]:
        start, client = 0, self.server.client
        while True:
            if from_tail:
                page = client.lrange(key, -(start + _PAGE), -(start + 1))[::-1]
            else:
                page = client.lrange(key, start, start + _PAGE - 1)
            if not page:
                return
            for raw in page:
                yield read_message(address, "", raw, state)
            start += len(page)

    def _address(self, queue: str) -> QueueAddress:
        return QueueAddress(self.endpoint.side, self.endpoint.system, queue)


def read_unacked(client: Any, key: str) -> Iterator[tuple[bytes, bytes, str, int]]:
    """Yield tag, message, queue and priority of each entry of a hash ``unacked`` that can be read.

    The queue is the one to which kombu would give the message back: that which its exchange has for the routing key.
    """
    seen: set[bytes] = set()
    bound: dict[tuple[str, str], str] = {}
    for tag, value in client.hscan_iter(key, count=_PAGE):
        try:
            message, exchange, routing_key = msgspec.json.decode(value, type=tuple[Raw, str, str])
            properties = msgspec.json.decode(bytes(message), type=_Routed).properties
        except (msgspec.MsgspecError, RecursionError):
            continue
        if tag in seen:
            continue
        seen.add(tag)
        route = exchange, routing_key or properties.delivery_info.routing_key
        if route not in bound:
            bound[route] = _bound_queue(client, key.removesuffix("unacked"), *route)
        yield tag, bytes(message), bound[route], properties.priority or 0


def _bound_queue(client: Any, prefix: str, exchange: str, routing_key: str) -> str:
    """Return the queue that an exchange has for a routing key; without a binding the key names it."""
    for member in client.smembers(f"{prefix}_kombu.binding.{exchange}") if exchange else ():
        text = member.decode(errors="surrogateescape")
        parts = text.split(SEPARATOR if SEPARATOR in text else ":")
        if parts[0] == routing_key:
            return str(parts[-1])
    return routing_key
