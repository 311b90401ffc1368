"""Dramatiq's queues on Redis, read without changing anything.

The hash ``<namespace>:<queue>.msgs`` holds every unfinished message; the list beside it holds the waiting ids, and one
set for each worker process holds the ids that it has taken. Delayed messages and retries are in the same kind of pair
under ``<queue>.DQ``, dead letters in ``<queue>.XQ``. Workers take delayed messages into memory, so those are mostly in
the sets.

Source: dramatiq/brokers/redis/dispatch.lua, dramatiq/brokers/redis.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from migrator.brokers.decode import read_message
from migrator.brokers.protocol import BrokerFacts, Depths, Owner
from migrator.brokers.redis.keys import RedisQueue, dramatiq_list, sources
from migrator.brokers.redis.quarantine import count_quarantined, read_quarantined
from migrator.brokers.redis.server import RedisServer
from migrator.plan.model import Endpoint
from migrator.wire.message import Message, State
from migrator.wire.queue_address import QueueAddress

_PAGE = 500
_NAMES = 10_000


class DramatiqRedis:
    """The Dramatiq queues of one endpoint.

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
        return self.server.facts()

    def depths(self) -> Depths:
        """Count the messages by queue and state."""
        client = self.server.client
        counts = {(queue, state): 0 for queue in self.endpoint.queues for state in State}
        with self.server.translated():
            for redis_queue in sources(self.endpoint):
                waiting = State.DELAYED if redis_queue.address.delayed else State.READY
                counts[redis_queue.address.queue, waiting] += client.llen(redis_queue.list) + client.llen(
                    redis_queue.filtered_out
                )
                counts[redis_queue.address.queue, State.MOVING] += client.llen(redis_queue.claim)
            for owner in self.owners():
                counts[owner.queue, State.CLAIMED] += owner.claimed
            for queue in self.endpoint.queues:
                counts[queue, State.DEAD] = client.hlen(f"{dramatiq_list(self.endpoint, queue)}.XQ.msgs")
            for key, number in count_quarantined(client, self.endpoint).items():
                counts[key] = counts.get(key, 0) + number
        return counts

    def unaccounted(self) -> dict[str, int]:
        """Return the number of bodies that no list, worker or claim names, by wire queue; 0 on a consistent server."""
        client = self.server.client
        with self.server.translated():
            claimed: dict[str, int] = {}
            for owner in self.owners():
                wire = f"{owner.queue}.DQ" if owner.delayed else owner.queue
                claimed[wire] = claimed.get(wire, 0) + owner.claimed
            return {
                redis_queue.address.wire_queue: client.hlen(redis_queue.bodies)
                - client.llen(redis_queue.list)
                - client.llen(redis_queue.claim)
                - client.llen(redis_queue.filtered_out)
                - claimed.get(redis_queue.address.wire_queue, 0)
                for redis_queue in sources(self.endpoint)
            }

    def orphans(self) -> Iterator[tuple[QueueAddress, str, bytes]]:
        """Yield address, id and body of messages that no list, worker or claim names; nothing would ever run them.

        All ids of a queue are held in memory at once. A message that is just being taken may look like this.
        """
        client = self.server.client
        with self.server.translated():
            owners = self.owners()
            for redis_queue in sources(self.endpoint):
                named = {
                    name
                    for key in (redis_queue.list, redis_queue.claim, redis_queue.filtered_out)
                    for name in client.lrange(key, 0, -1)
                }
                for owner in owners:
                    named |= client.smembers(acks_key(self.endpoint, owner.id, redis_queue.address))
                for name, raw in client.hscan_iter(redis_queue.bodies, count=_PAGE):
                    if name not in named:
                        yield redis_queue.address, name.decode(errors="surrogateescape"), raw

    def owners(self) -> tuple[Owner, ...]:
        """Return the worker processes that have taken messages, with their last heartbeat.

        Producers write heartbeats as well, so a process without claims is not listed.
        """
        client = self.server.client
        with self.server.translated():
            beats = self.heartbeats()
            found: list[Owner] = []
            for name in sorted(set(beats) | self._forgotten_owners()):
                for redis_queue in sources(self.endpoint):
                    claimed = client.scard(acks_key(self.endpoint, name, redis_queue.address))
                    beat = beats.get(name)
                    if claimed:
                        found.append(
                            Owner(
                                id=name,
                                queue=redis_queue.address.queue,
                                delayed=redis_queue.address.delayed,
                                claimed=claimed,
                                heartbeat_ms=beat,
                            )
                        )
        return tuple(found)

    def heartbeats(self) -> dict[str, int]:
        """Return the last heartbeat of each process that has talked to the broker, in ms of its clock."""
        key = f"{self.endpoint.namespace}:__heartbeats__"
        with self.server.translated():
            return {name.decode(): int(score) for name, score in self.server.client.zrange(key, 0, -1, withscores=True)}

    def scan(self, *, queue: str | None = None) -> Iterator[Message]:
        """Yield every message without taking it."""
        with self.server.translated():
            for redis_queue in sources(self.endpoint):
                if queue in (None, redis_queue.address.queue):
                    yield from self._scan(redis_queue)
            for quarantined in read_quarantined(self.server.client, self.endpoint):
                redis_queue = next(
                    (s for s in sources(self.endpoint) if s.list == quarantined.list), sources(self.endpoint)[0]
                )
                if queue in (None, redis_queue.address.queue):
                    yield replace(
                        read_message(redis_queue.address, quarantined.copy_id, quarantined.raw, State.QUARANTINED),
                        state=State.QUARANTINED,
                    )

    def _scan(self, redis_queue: RedisQueue) -> Iterator[Message]:
        for key, state in (
            (redis_queue.claim, State.MOVING),
            (redis_queue.list, State.READY),
            (redis_queue.filtered_out, State.READY),
        ):
            yield from self._scan_list(redis_queue, key, state)
        for owner in self.owners():
            if (owner.queue, owner.delayed) == (redis_queue.address.queue, redis_queue.address.delayed):
                ids = sorted(self.server.client.smembers(acks_key(self.endpoint, owner.id, redis_queue.address)))
                for start in range(0, len(ids), _PAGE):
                    yield from self._bodies(redis_queue, redis_queue.bodies, ids[start : start + _PAGE], State.CLAIMED)
        if not redis_queue.address.delayed:
            dead = f"{redis_queue.list}.XQ"
            ids = self.server.client.zrange(dead, 0, -1)
            for start in range(0, len(ids), _PAGE):
                yield from self._bodies(redis_queue, f"{dead}.msgs", ids[start : start + _PAGE], State.DEAD)

    def _scan_list(self, redis_queue: RedisQueue, key: str, state: State) -> Iterator[Message]:
        start = 0
        while ids := self.server.client.lrange(key, start, start + _PAGE - 1):
            yield from self._bodies(redis_queue, redis_queue.bodies, ids, state)
            start += len(ids)

    def _bodies(self, redis_queue: RedisQueue, bodies: str, ids: list[bytes], state: State) -> Iterator[Message]:
        for identity, raw in zip(ids, self.server.client.hmget(bodies, ids), strict=True):
            if raw is not None:
                yield read_message(redis_queue.address, identity.decode(errors="surrogateescape"), raw, state)

    def _forgotten_owners(self) -> set[str]:
        """Return owners of claims whose heartbeat is gone; found by scanning the names of the keys."""
        prefix = f"{self.endpoint.namespace}:__acks__."
        names: set[str] = set()
        for key in self.server.client.scan_iter(match=f"{_literal(prefix)}*", count=10_000):
            rest = key.decode(errors="replace")[len(prefix) :]
            for redis_queue in sources(self.endpoint):
                if rest.endswith(f".{redis_queue.address.wire_queue}"):
                    names.add(rest[: -len(redis_queue.address.wire_queue) - 1])
        return names


def acks_key(endpoint: Endpoint, owner: str, address: QueueAddress) -> str:
    """Return the set of ids that a worker process has taken from a queue."""
    return f"{endpoint.namespace}:__acks__.{owner}.{address.wire_queue}"


def _literal(text: str) -> str:
    return "".join(f"\\{sign}" if sign in "*?[]\\" else sign for sign in text)
