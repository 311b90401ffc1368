"""Every message that was there when a transfer began is there when it ends, or somebody who lives has consumed it.

The queues are counted before and after, ours among them. Per queue: what was there, less what left it, plus what came
in, is what must be there; more may be there, because producers may be at work. Where less is there, a consumer must
have shown itself: Dramatiq's fetches move its heartbeat, Celery's workers listen for control messages, RabbitMQ counts
consumers. Otherwise the messages are missing: somebody has purged a queue, or a policy of the server dropped them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from migrator.brokers.control_listeners import listeners_of
from migrator.brokers.redis.celery import CeleryRedis
from migrator.brokers.redis.dramatiq import DramatiqRedis
from migrator.errors import RefusedError
from migrator.transfer.batch import Work
from migrator.transfer.connections import Connections
from migrator.wire.message import Side, State, System

_SETTLED_AFTER_S = 2.0
#: Side, system and queue.
Place = tuple[Side, System, str]


@dataclass(frozen=True, slots=True)
class Stock:
    """What the queues hold at one moment, and who shows signs of life."""

    counts: dict[Place, int]
    #: By side and system: consumers that listen, and heartbeats.
    consumers: dict[tuple[Side, System], int]
    heartbeats: dict[tuple[Side, System], Mapping[str, int]]


class Flow:
    """What a run takes out of each queue and puts into it.

    Args:
        parked_queue: The queue for which parked messages are counted.
    """

    def __init__(self, parked_queue: str) -> None:
        self._parked_queue = parked_queue
        self._balance: Counter[Place] = Counter()
        #: How many messages were refused at their destination because they had arrived before.
        self._refused = 0

    def record(self, work: Work) -> None:
        """Add a batch that was applied."""
        address = work.batch.address
        left = len(work.batch.items) - len(work.quarantined) - len(work.filtered)
        self._balance[address.side, address.system, address.queue] -= left
        self._refused += work.refused
        for groups in work.groups.values():
            for group in groups.values():
                queue = self._parked_queue if group.kind == "zset" else group.address.queue
                self._balance[group.address.side, group.address.system, queue] += len(group.messages)

    def missing(self, before: Stock, after: Stock, *, exactly: bool) -> dict[str, tuple[int, int]]:
        """Return by queue how many messages are missing, and of how many, unless somebody may have consumed them.

        Args:
            before: What was there before the first batch.
            after: What is there after the last one.
            exactly: No connection was lost: what moved is known for each queue. Otherwise it is for all together.
        """
        missing: dict[str, tuple[int, int]] = {}
        if not exactly and sum(after.counts.values()) >= sum(before.counts.values()) + self._balance.total():
            return missing
        for place in {*before.counts, *self._balance}:
            expected = before.counts.get(place, 0) + self._balance[place]
            gone = expected - after.counts.get(place, 0) - self._refused
            if gone > 0 and not _lives(before, after, place):
                missing[f"{place[0].value} {place[1].value}:{place[2]}"] = (gone, expected)
        return missing


def require_all(flow: Flow, before: Stock, recount: Callable[[], Stock], *, exactly: bool, remedy: str) -> None:
    """Make sure that no message is missing at the end of a run.

    Raises:
        RefusedError: Some are, and nobody has consumed them.
    """
    # A server puts back what we have not acknowledged a moment after we have let go of it.
    deadline = time.monotonic() + _SETTLED_AFTER_S
    while missing := flow.missing(before, recount(), exactly=exactly):
        if time.monotonic() > deadline:
            raise RefusedError(
                ", ".join(missing),
                "messages are missing that were there when the transfer began, and nobody consumes these queues",
                found=", ".join(f"{gone} of {expected} in {name}" for name, (gone, expected) in missing.items()),
                remedy=f"find out who has purged them, or which policy or time to live has dropped them; {remedy}",
            )
        time.sleep(0.2)


def take_stock(connections: Connections, attempt: Callable[[Callable[[], None]], None]) -> Stock:
    """Count the messages of every queue; dead letters are no part of a transfer.

    Args:
        connections: The servers.
        attempt: Runs the count of one endpoint, again after a lost connection.
    """
    stock = Stock({}, {}, {})
    for key in connections.brokers:
        attempt(lambda k=key: _count(connections, k, stock))  # type: ignore[misc]
    return stock


def _count(connections: Connections, key: tuple[Side, System], stock: Stock) -> None:
    broker = connections.brokers[key]
    counts: Counter[Place] = Counter()
    for (queue, state), number in broker.depths().items():
        if state is not State.DEAD:
            counts[*key, queue] += number
    stock.counts.update(counts)
    if isinstance(broker, DramatiqRedis):
        stock.heartbeats[key] = broker.heartbeats()
    elif isinstance(broker, CeleryRedis):
        stock.consumers[key] = listeners_of(broker)
    else:
        stock.consumers[key] = sum(owner.consumers for owner in broker.owners())


def _lives(before: Stock, after: Stock, place: Place) -> bool:
    """Say whether somebody may have consumed messages: there are consumers, or a heartbeat has moved."""
    key = place[:2]
    is_heard = any(stock.consumers.get(key) for stock in (before, after))
    return is_heard or before.heartbeats.get(key) != after.heartbeats.get(key)
