"""What every broker can report about its messages without changing anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from migrator.plan.model import Endpoint
from migrator.report import Finding
from migrator.wire.message import Message, State

#: How many messages are in each state of each queue. Every state of every queue of the endpoint is a key.
Depths = Mapping[tuple[str, State], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A worker as the broker knows it, and what it has claimed."""

    #: Dramatiq's broker id; empty for Celery, whose claims have no owner.
    id: str
    queue: str
    #: True for messages of Dramatiq's delay queue.
    delayed: bool
    claimed: int
    #: Score of its last heartbeat, in ms of *its* clock; None if it has none.
    heartbeat_ms: int | None
    #: How many processes it stands for: RabbitMQ reports how many consume a queue, not which.
    consumers: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerFacts:
    """What a server says about itself; ``findings`` holds what would endanger messages."""

    #: URL without its password.
    where: str
    #: Such as ``valkey 9.1.2`` or ``redis 6.2.14``.
    server: str
    #: ``master`` or ``slave``.
    role: str
    used_memory_bytes: int
    #: 0 means no limit.
    maxmemory_bytes: int
    eviction_policy: str
    #: ``none``, ``rdb``, ``aof`` or ``rdb+aof``.
    persistence: str
    #: Identifies server and database: two endpoints with the same value share their keys.
    identity: str
    findings: tuple[Finding, ...] = ()
    #: Celery: seconds after which an unacknowledged message is delivered again.
    visibility_timeout_s: float | None = None
    #: By how many seconds at least the server's clock is ahead of ours, negative if behind; None if unknown.
    clock_ahead_s: float | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def headroom_bytes(self) -> int | None:
        """Memory left under the server's limit; None if it has none."""
        return None if self.maxmemory_bytes == 0 else max(self.maxmemory_bytes - self.used_memory_bytes, 0)


class PlaceKind(StrEnum):
    """What kind of place outside of the plan holds messages."""

    QUEUE = "a queue that the plan does not name"
    NAMESPACE = "a queue of another Dramatiq namespace"
    PREFIX = "a queue under another key prefix"
    STEP = "a priority list of a step that the plan does not name"
    SEPARATOR = "a priority list with another separator than the plan has"
    DATABASE = "a queue in another database of the server"
    UNACKED = "messages that a worker has taken from a queue outside of the plan"
    NATIVE_DELAY = "a queue of Celery's native delayed delivery"
    DEAD_LETTER_ROUTE = "a queue whose messages the server moves on by itself"
    DELAYED_EXCHANGE = "an exchange that holds delayed messages"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One place outside of the plan's queues that holds messages."""

    kind: PlaceKind
    #: URL of the server without its password, its database or virtual host included.
    where: str
    #: The brokers of the plan on that server, as :data:`migrator.plan.leave.BROKERS` calls them; the likeliest first.
    brokers: tuple[str, ...]
    #: As ``[[leave]]`` names it.
    queue: str
    #: Redis, where it is not the database of such a broker.
    database: int | None = None
    #: None if the server does not tell.
    messages: int | None
    #: Names of tasks whose messages are there, as far as it was looked into.
    tasks: frozenset[str] = frozenset()
    #: The line of the plan that makes it one of the plan's; empty if a plan can't name it.
    line: str = ""

    @property
    def leave(self) -> str:
        """The words of the plan that leave it alone."""
        lines = ["[[leave]]", f'broker = "{self.brokers[0]}"', f"queue = {_quoted(self.queue)}"]
        lines += [f"database = {self.database}"] if self.database is not None else []
        return "; ".join([*lines, 'reason = "…"'])


def label(endpoint: Endpoint) -> str:
    """Return what a plan calls a broker."""
    return "unified" if endpoint.side.value == "unified" else f"legacy.{endpoint.system.value}"


def _quoted(text: str) -> str:
    return '"' + text.translate({6: "\\u0006", 22: "\\u0016", 34: '\\"', 92: "\\\\"}) + '"'


class Broker(Protocol):
    """One endpoint's queues on one server. Reading changes nothing."""

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint of the plan."""
        ...

    @property
    def where(self) -> str:
        """URL without its password, for messages to people."""
        ...

    def depths(self) -> Depths:
        """Count the messages in every state of every queue."""
        ...

    def scan(self, *, queue: str | None = None) -> Iterator[Message]:
        """Yield every message without taking it, in the order of service within a queue.

        A message that can't be read has an empty task name. With workers running, one may be missed or seen twice.
        """
        ...

    def facts(self) -> BrokerFacts:
        """Ask the server about itself."""
        ...

    def owners(self) -> tuple[Owner, ...]:
        """Return who has claimed messages."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...
