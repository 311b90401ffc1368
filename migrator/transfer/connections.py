"""The open connections to all servers of a plan, each opened once, and which endpoint is on which server."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from migrator.brokers.clock import server_time_s
from migrator.brokers.connect import connect, is_on_rabbitmq
from migrator.brokers.redis.keys import PARKED, celery_list, dramatiq_list
from migrator.brokers.redis.pipeline import RedisPipeline
from migrator.errors import MigratorError, RefusedError
from migrator.plan.model import Endpoint, Plan
from migrator.plan.placeholders import endpoint_url
from migrator.transfer.delayed import park_after_ms, release_lead_ms, release_parked
from migrator.transfer.ledger import Ledger
from migrator.transfer.lock import new_token
from migrator.transfer.ports import QueueReader, TransferServer
from migrator.transfer.redis.home import RedisHome
from migrator.translation.result import Translated
from migrator.wire.message import Side, System
from migrator.wire.queue_address import QueueAddress

_KEEP_LOCKS_EVERY_S = 5.0
_ACCEPT = "`migrator transfer --accept-forgotten`"


class Connections:
    """Every broker of the plan; endpoints on one server and database share a connection.

    Args:
        plan: The plan.
        environ: Fills the references in its URLs.
    """

    def __init__(self, plan: Plan, environ: Mapping[str, str]) -> None:
        self.plan = plan
        self.unified_url = endpoint_url(plan.unified, environ)
        self.unified_on_rabbitmq = is_on_rabbitmq(plan.unified, environ)
        #: The token of the locks.
        self.token = new_token()
        #: By side and system.
        self.brokers: dict[tuple[Side, System], Any] = {}
        #: Identity of the server of each endpoint.
        self.identities: dict[tuple[Side, System], str] = {}
        #: By identity.
        self.servers: dict[str, TransferServer] = {}
        #: A unified message that is due later than this (ms since the epoch) is parked; None if none is.
        self.park_after_ms: float | None = None
        self.release_lead_ms = release_lead_ms(plan)
        #: How long a worker may hold a message of the unified queue on RabbitMQ, as far as can be found out.
        self.consumer_timeout_s = math.inf
        self._readers: dict[Side, tuple[QueueReader, ...]] = {}
        self._clock_offset_s: float | None = None
        self._locks_kept_at = time.monotonic()

    @property
    def redis_homes(self) -> tuple[RedisHome, ...]:
        """The servers that are Redis."""
        return tuple(server for server in self.servers.values() if isinstance(server, RedisHome))

    def home(self, address: QueueAddress) -> TransferServer:
        """Return the server that holds a queue."""
        return self.servers[self.identities[address.side, address.system]]

    def is_on_rabbitmq(self, address: QueueAddress) -> bool:
        """Say whether a queue is on RabbitMQ."""
        return not isinstance(self.home(address), RedisHome)

    def identity(self, address: QueueAddress) -> str:
        """Return the identity of the server that holds a queue."""
        return self.identities[address.side, address.system]

    def endpoints(self, side: Side) -> tuple[Endpoint, ...]:
        """Return the endpoints of one side."""
        return (self.plan.unified,) if side is Side.UNIFIED else self.plan.legacy

    def server_of(self, endpoint: Endpoint) -> TransferServer:
        """Return the server that an endpoint is on."""
        return self.servers[self.identities[endpoint.side, endpoint.system]]

    def readers(self, side: Side) -> tuple[QueueReader, ...]:
        """Return a reader of every queue of one side."""
        if side not in self._readers:
            found = (self.server_of(endpoint).readers(endpoint) for endpoint in self.endpoints(side))
            self._readers[side] = tuple(reader for readers in found for reader in readers)
        return self._readers[side]

    def pipelines(self) -> Iterator[RedisPipeline]:
        """Yield the open connections for scripts."""
        for home in self.redis_homes:
            yield from home.pipelines()

    def now_ms(self) -> float:
        """Return the time of the unified server in ms since the epoch; it decides whether an ETA is past, not ours.

        The server is asked once; from then on the monotonic clock counts. RabbitMQ does not report its time, so another
        server of the plan that is on Redis is asked instead; if there is none, our own clock is used.
        """
        if self._clock_offset_s is None:
            there_s = time.time()
            unified = self.identities[Side.UNIFIED, self.plan.unified.system]
            homes = sorted(self.redis_homes, key=lambda home: home.identity != unified)
            for home in homes[:1]:
                with home.server.translated():
                    there_s = server_time_s(home.client)
            self._clock_offset_s = there_s - time.monotonic()
        return (time.monotonic() + self._clock_offset_s) * 1000

    def allow_parking(self, *, parks: bool) -> None:
        """Set the ETA from which messages are parked, where the workers release them: only Redis needs that."""
        wanted = parks and not self.unified_on_rabbitmq
        self.park_after_ms = park_after_ms(self.plan, self.now_ms()) if wanted else None

    def parks(self, address: QueueAddress, eta_ms: int) -> bool:
        """Say whether a message with this ETA is parked."""
        return self.park_after_ms is not None and eta_ms > self.park_after_ms and address.side is Side.UNIFIED

    @property
    def longest_eta_s(self) -> float:
        """How long a worker of the unified queue may hold a message."""
        return self.consumer_timeout_s if self.unified_on_rabbitmq else self.plan.unified.visibility_timeout_s

    def target(self, translated: Translated, *, is_parked: bool) -> tuple[str, str]:
        """Return kind and name of the destination of a message."""
        address = translated.address
        if is_parked:
            return "zset", PARKED
        if self.is_on_rabbitmq(address):
            return "queue", address.wire_queue
        endpoint = self.brokers[address.side, address.system].endpoint
        if address.system is System.DRAMATIQ:
            return "hash", dramatiq_list(endpoint, address.wire_queue)
        return "list", celery_list(endpoint, address.queue, translated.priority)

    def arrived_elsewhere(self, identity: str, entries: list[str]) -> set[str]:
        """Return which of these ledger entries are on any server but this one."""
        others = (server for key, server in self.servers.items() if key != identity)
        return {entry for server in others for entry in server.arrived(entries)}

    @contextmanager
    def locked(self, *, wait_s: float, takeover: bool = False) -> Iterator[None]:
        """Hold the lock of every server.

        Raises:
            RefusedError: Another run holds one of them.
        """
        try:
            for server in self.servers.values():
                server.lock(wait_s=wait_s, takeover=takeover)
            self._locks_kept_at = time.monotonic()
            yield
        finally:
            for server in self.servers.values():
                server.release()

    @property
    def remedy_if_forgotten(self) -> str:
        """What to do when a server has forgotten messages."""
        files = (self.plan.state_folder / "snapshots").glob("*.snapshot")
        newest = max(files, key=lambda file: file.stat().st_mtime, default=None)
        if newest is None:
            return f"no snapshot holds them; find out what is missing, then {_ACCEPT}"
        return f"stop all workers, then `migrator restore {newest} --replace`; if nothing is missing, {_ACCEPT}"

    def recall(self, book: Ledger | None = None) -> None:
        """Make sure that no server has forgotten what it has confirmed, to this run or to any in the book.

        Raises:
            ForgottenError: One has.
            UnreachableError: A server does not answer.
        """
        self._each(lambda server: server.recall(book.mark_of(server.where) if book else ""))

    def remember(self, book: Ledger) -> None:
        """Write down what every server has confirmed."""
        for server in self.servers.values():
            book.remember(server.where, server.mark)

    def leave_marks(self, book: Ledger) -> None:
        """Leave a mark on every server, by which the next run recognises its memory.

        Raises:
            UnreachableError: A server does not answer.
        """
        self._each(lambda server: server.leave_mark())
        self.remember(book)

    def begin(self) -> None:
        """Look at what earlier runs have left on every server, once every lock is ours."""
        self._each(lambda server: server.begin())

    def forget(self) -> None:
        """Invalidate what earlier runs have recorded: the messages are about to be replaced."""
        self._each(lambda server: server.forget())

    def _each(self, action: Callable[[TransferServer], None]) -> None:
        for server in self.servers.values():
            try:
                action(server)
            except server.errors as error:
                raise error if isinstance(error, MigratorError) else server.failure(error, server.where) from error

    def too_late_ms(self) -> float:
        """Return the latest ETA, in ms since the epoch, that a worker may hold; on Redis such a message is parked."""
        return self.now_ms() + self.consumer_timeout_s * 1000 if self.unified_on_rabbitmq else math.inf

    def keep_locks(self, *, at_once: bool = False) -> None:
        """Extend every lock, at most every few seconds: scripts extend it only where they run.

        Raises:
            InterruptedRunError: Another run has a lock, or has had it since.
        """
        if at_once or time.monotonic() - self._locks_kept_at >= _KEEP_LOCKS_EVERY_S:
            self._locks_kept_at = time.monotonic()
            for server in self.servers.values():
                server.keep_lock()

    def release_parked(self, *, everything: bool) -> int:
        """Put parked messages that are due soon, or all of them, into the unified queue; return how many."""
        home = self.server_of(self.plan.unified)
        if not isinstance(home, RedisHome):
            return 0
        return release_parked(home.server, self.plan.unified, math.inf if everything else self.now_ms())

    def close(self) -> None:
        """Close every connection."""
        for server in self.servers.values():
            server.close()


def open_connections(plan: Plan, environ: Mapping[str, str]) -> Connections:
    """Connect to every broker of the plan.

    Raises:
        UnreachableError: One does not answer.
        RefusedError: Two endpoints share a queue.
    """
    connections = Connections(plan, environ)
    try:
        for endpoint in (*plan.legacy, plan.unified):
            _open(connections, endpoint, environ)
        _refuse_shared_queues(connections)
    except BaseException:
        connections.close()
        raise
    return connections


def _open(connections: Connections, endpoint: Endpoint, environ: Mapping[str, str]) -> None:
    key, broker = (endpoint.side, endpoint.system), connect(endpoint, environ)
    connections.brokers[key] = broker
    found: Any = broker
    if is_on_rabbitmq(endpoint, environ):
        # Its libraries are only needed where there is a RabbitMQ.
        from migrator.transfer.rabbitmq.home import RabbitHome
        from migrator.transfer.rabbitmq.queue_forms import queue_forms

        with found.server.connected() as connection:
            identity = found.server.identity(connection)
        rabbit: Any = connections.servers.setdefault(
            identity, RabbitHome(connections.plan, found.server, identity, connections)
        )
        rabbit.form_of = rabbit.form_of or queue_forms(connections.plan, environ)
        rabbit.brokers.append(found)
    else:
        with found.server.translated():
            identity = found.server.identity()
        redis: Any = connections.servers.setdefault(identity, RedisHome(found.server, identity, connections))
        if redis.server is not found.server:
            found.server.close()
            found.server = redis.server
        redis.brokers[key] = found
    connections.identities[key] = identity


def _refuse_shared_queues(connections: Connections) -> None:
    taken: dict[tuple[str, str], Endpoint] = {}
    for key, broker in connections.brokers.items():
        endpoint, identity = broker.endpoint, connections.identities[key]
        on_rabbitmq = not isinstance(connections.servers[identity], RedisHome)
        for queue in endpoint.queues:
            other = taken.setdefault((identity, queue), endpoint)
            if other is endpoint or not (on_rabbitmq or other.system is endpoint.system):
                continue
            where = f"{endpoint.side.value}.{endpoint.system.value}.queues"
            what = "legacy and unified tasks share a queue, so old and new messages can't be told apart"
            if on_rabbitmq:
                name = f"{other.side.value}.{other.system.value}"
                what = f"{name} uses the same queue; on RabbitMQ each declares it with other arguments (406)"
            remedy = "give the unified side a queue of its own"
            raise RefusedError(where, what, found=queue, remedy=remedy)
