"""Dramatiq's queues on Redis, read without changing anything.

The hash ``<namespace>:<queue>.msgs`` holds every unfinished message; the list beside it holds the ids that wait, one
set for each worker process the ids that it took. Delayed messages and retries lie in the same pair under
``<queue>.DQ``, dead letters in ``<queue>.XQ``. Workers take delayed messages into memory, so those are mostly in
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
        """Count every place where a message can be."""
        client = self.server.client
        counts = {(queue, state): 0 for queue in self.endpoint.queues for state in State}
        with self.server.translated():
            for source in sources(self.endpoint):
                waiting = State.DELAYED if source.address.delayed else State.READY
                counts[source.address.queue, waiting] += client.llen(source.list) + client.llen(source.filtered_out)
                counts[source.address.queue, State.MOVING] += client.llen(source.claim)
            for owner in self.owners():
                counts[owner.queue, State.CLAIMED] += owner.claimed
            for queue in self.endpoint.queues:
                counts[queue, State.DEAD] = client.hlen(f"{dramatiq_list(self.endpoint, queue)}.XQ.msgs")
            for key, number in count_quarantined(client, self.endpoint).items():
                counts[key] = counts.get(key, 0) + number
        return counts

    def unaccounted(self) -> dict[str, int]:
        """Return bodies that no list, worker or claim names, by wire queue; 0 everywhere on a sound server."""
        client = self.server.client
        with self.server.translated():
            claimed: dict[str, int] = {}
            for owner in self.owners():
                wire = f"{owner.queue}.DQ" if owner.delayed else owner.queue
                claimed[wire] = claimed.get(wire, 0) + owner.claimed
            return {
                source.address.wire_queue: client.hlen(source.bodies)
                - client.llen(source.list)
                - client.llen(source.claim)
                - client.llen(source.filtered_out)
                - claimed.get(source.address.wire_queue, 0)
                for source in sources(self.endpoint)
            }

    def orphans(self) -> Iterator[tuple[QueueAddress, str, bytes]]:
        """Yield place, id and body of messages that no list, worker or claim names; nobody would ever run them.

        All ids of a queue are held in memory meanwhile. What is just being taken may look like this.
        """
        client = self.server.client
        with self.server.translated():
            owners = self.owners()
            for source in sources(self.endpoint):
                named = {
                    name
                    for key in (source.list, source.claim, source.filtered_out)
                    for name in client.lrange(key, 0, -1)
                }
                for owner in owners:
                    named |= client.smembers(acks_key(self.endpoint, owner.id, source.address))
                for name, raw in client.hscan_iter(source.bodies, count=_PAGE):
                    if name not in named:
                        yield source.address, name.decode(errors="surrogateescape"), raw

    def owners(self) -> tuple[Owner, ...]:
        """Return the worker processes that have taken messages, with their last sign of life.

        Producers leave a sign of life as well, so one without claims is not listed.
        """
        client = self.server.client
        with self.server.translated():
            beats = {
                name.decode(): int(score)
                for name, score in client.zrange(f"{self.endpoint.namespace}:__heartbeats__", 0, -1, withscores=True)
            }
            now_s, micros = client.time()
            found: list[Owner] = []
            for name in sorted(set(beats) | self._forgotten_owners()):
                for source in sources(self.endpoint):
                    claimed = client.scard(acks_key(self.endpoint, name, source.address))
                    beat = beats.get(name)
                    silent_s = None if beat is None else now_s + micros / 1e6 - beat / 1000
                    if claimed:
                        found.append(
                            Owner(
                                id=name,
                                queue=source.address.queue,
                                delayed=source.address.delayed,
                                claimed=claimed,
                                heartbeat_ms=beat,
                                silent_s=silent_s,
                            )
                        )
        return tuple(found)

    def scan(self, *, queue: str | None = None) -> Iterator[Message]:
        """Yield every message without taking it."""
        with self.server.translated():
            for source in sources(self.endpoint):
                if queue in (None, source.address.queue):
                    yield from self._scan(source)
            for quarantined in read_quarantined(self.server.client, self.endpoint):
                source = next(
                    (s for s in sources(self.endpoint) if s.list == quarantined.list), sources(self.endpoint)[0]
                )
                if queue in (None, source.address.queue):
                    yield replace(
                        read_message(source.address, quarantined.copy_id, quarantined.raw, State.QUARANTINED),
                        state=State.QUARANTINED,
                    )

    def _scan(self, source: RedisQueue) -> Iterator[Message]:
        for key, state in (
            (source.claim, State.MOVING),
            (source.list, State.READY),
            (source.filtered_out, State.READY),
        ):
            yield from self._scan_list(source, key, state)
        for owner in self.owners():
            if (owner.queue, owner.delayed) == (source.address.queue, source.address.delayed):
                ids = sorted(self.server.client.smembers(acks_key(self.endpoint, owner.id, source.address)))
                for start in range(0, len(ids), _PAGE):
                    yield from self._bodies(source, source.bodies, ids[start : start + _PAGE], State.CLAIMED)
        if not source.address.delayed:
            dead = f"{source.list}.XQ"
            ids = self.server.client.zrange(dead, 0, -1)
            for start in range(0, len(ids), _PAGE):
                yield from self._bodies(source, f"{dead}.msgs", ids[start : start + _PAGE], State.DEAD)

    def _scan_list(self, source: RedisQueue, key: str, state: State) -> Iterator[Message]:
        start = 0
        while ids := self.server.client.lrange(key, start, start + _PAGE - 1):
            yield from self._bodies(source, source.bodies, ids, state)
            start += len(ids)

    def _bodies(self, source: RedisQueue, bodies: str, ids: list[bytes], state: State) -> Iterator[Message]:
        for identity, raw in zip(ids, self.server.client.hmget(bodies, ids), strict=True):
            if raw is not None:
                yield read_message(source.address, identity.decode(errors="surrogateescape"), raw, state)

    def _forgotten_owners(self) -> set[str]:
        """Return owners of claims whose sign of life is gone; found by walking over the keys' names."""
        prefix = f"{self.endpoint.namespace}:__acks__."
        names: set[str] = set()
        for key in self.server.client.scan_iter(match=f"{_literal(prefix)}*", count=10_000):
            rest = key.decode(errors="replace")[len(prefix) :]
            for source in sources(self.endpoint):
                if rest.endswith(f".{source.address.wire_queue}"):
                    names.add(rest[: -len(source.address.wire_queue) - 1])
        return names


def acks_key(endpoint: Endpoint, owner: str, address: QueueAddress) -> str:
    """Return the set of ids that a worker process has taken from a queue."""
    return f"{endpoint.namespace}:__acks__.{owner}.{address.wire_queue}"


def _literal(text: str) -> str:
    return "".join(f"\\{sign}" if sign in "*?[]\\" else sign for sign in text)
