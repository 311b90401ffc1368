"""The open connections of a plan with RabbitMQ among its servers, and which endpoint is on which server."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from migrator.brokers.connect import connect
from migrator.brokers.rabbitmq.browse import browse
from migrator.brokers.rabbitmq.management import Management
from migrator.brokers.rabbitmq.queues import ALIVE, RabbitQueue, arriving_queue, delete_if_empty, rabbit_queues
from migrator.brokers.rabbitmq.server import RabbitmqServer
from migrator.brokers.rabbitmq.server_checks import CONSUMER_TIMEOUT_S
from migrator.brokers.rabbitmq.staging_headers import ID, own_header
from migrator.brokers.redis.keys import RedisQueue
from migrator.errors import RefusedError
from migrator.plan.model import Endpoint, Plan
from migrator.state.state_folder import ensure_state_folder
from migrator.transfer.connections import Connections
from migrator.transfer.delayed import park_after_ms, release_lead_ms
from migrator.transfer.lock import retake
from migrator.transfer.options import TransferOptions
from migrator.transfer.rabbitmq.dedup_log import DedupLog, open_dedup_log
from migrator.transfer.rabbitmq.dedup_window import was_restarted
from migrator.transfer.rabbitmq.session import LockedSession, open_session
from migrator.wire.message import Side, System
from migrator.wire.queue_address import QueueAddress

_STAY_EVERY_S = 5.0
#: A server writes acknowledgements when a queue has been idle for a moment: killed 0.3 s after the last one, it
#: redelivered all 1500 messages; after 0.4 s, none (3.10). The run does not end before that.
WRITTEN_AFTER_S = 1.0


@dataclass(slots=True, kw_only=True)
class MixedConnections:
    """Every broker of a plan, on Redis or RabbitMQ."""

    #: All endpoints; its servers are those on Redis.
    whole: Connections
    #: Only the endpoints on Redis.
    redis: Connections
    #: By identity.
    rabbits: dict[str, RabbitmqServer]
    sessions: dict[str, LockedSession] = field(default_factory=dict)
    #: How long a worker may hold a message of the unified queue on RabbitMQ, as far as can be found out.
    consumer_timeout_s: float = CONSUMER_TIMEOUT_S
    #: By identity of the server.
    dedup_logs: dict[str, DedupLog] = field(default_factory=dict)
    #: Ids of messages that came from other servers before this connection was made and are not yet in their queues.
    arrived: set[str] = field(default_factory=set)
    _locks_kept_at: float = 0.0

    def connect(self, *, wait_s: float, takeover: bool = False) -> None:
        """Take the lock of every RabbitMQ and read what has arrived there; py-amqp's errors propagate.

        Args:
            wait_s: How long to wait for another run's lock.
            takeover: Close the other run's connection, where the management plugin is named.

        Raises:
            RefusedError: Another run holds a lock.
        """
        self.arrived.clear()
        for identity, server in self.rabbits.items():
            log = self.dedup_logs.get(identity) or self._open_dedup_log(identity)
            breaker = self.management(identity) if takeover else None
            session = open_session(server, wait_s=wait_s, windows=log.windows, break_lock=breaker)
            self.sessions[identity] = session
            restarted = was_restarted(session.connection)
            if log.attach(session.connection, restarted=restarted):
                session.note_created()
            session.reconcile(restarted=restarted)
            for endpoint in self.endpoints(identity):
                queue = arriving_queue(endpoint)
                self.arrived.update(own_header(message, ID) for message in browse(session.connection, queue))

    def _open_dedup_log(self, identity: str) -> DedupLog:
        queues = [arriving_queue(endpoint) for endpoint in self.endpoints(identity)]
        for endpoint in self.endpoints(identity):
            for rabbit_queue in rabbit_queues(endpoint):
                queues += [rabbit_queue.queue, rabbit_queue.moving, rabbit_queue.filtered_out, rabbit_queue.quarantined]
        folder = ensure_state_folder(self.whole.plan)
        self.dedup_logs[identity] = found = open_dedup_log(folder, identity, queues)
        return found

    def keep_locks(self, token: str) -> None:
        """Keep every lock during long runs.

        Raises:
            InterruptedRunError: Another run has a lock, or has had it since.
            amqp.AMQPError, redis.RedisError, OSError: A server does not answer.
        """
        if time.monotonic() - self._locks_kept_at > _STAY_EVERY_S:
            self._locks_kept_at = time.monotonic()
            for server in self.whole.servers.values():
                retake(server, token)
            for session in self.sessions.values():
                session.send_heartbeat()

    def management(self, identity: str) -> Management | None:
        """Return the management plugin of a server; None if it is not configured."""
        found = (broker for key, broker in self.whole.brokers.items() if self.whole.identities[key] == identity)
        return next((getattr(broker, "management", None) for broker in found), None)

    def drop_sessions(self, *, lost: bool = False) -> None:
        """Close every connection to RabbitMQ; the outcome of what was in flight is unknown."""
        while self.sessions:
            self.sessions.popitem()[1].close(lost=lost)

    def close(self) -> None:
        """Close every connection."""
        self.drop_sessions()
        self.whole.close()

    def session(self, address: QueueAddress) -> LockedSession | None:
        """Return the session on the RabbitMQ that holds a queue; None for Redis."""
        return self.sessions.get(self.whole.identity(address))

    def endpoints(self, identity: str) -> tuple[Endpoint, ...]:
        """Return the endpoints on one server."""
        return tuple(
            broker.endpoint for key, broker in self.whole.brokers.items() if self.whole.identities[key] == identity
        )

    def rabbit_queues(self, side: Side) -> tuple[RabbitQueue, ...]:
        """Return every RabbitMQ queue on one side."""
        return tuple(
            rabbit_queue
            for (owner, system), broker in self.whole.brokers.items()
            if owner is side and self.whole.identities[owner, system] in self.rabbits
            for rabbit_queue in rabbit_queues(broker.endpoint)
        )

    def redis_queues(self, side: Side) -> tuple[RedisQueue, ...]:
        """Return every Redis queue on one side."""
        return tuple(
            redis_queue
            for redis_queue in self.whole.redis_queues(side)
            if self.whole.identity(redis_queue.address) in self.redis.servers
        )

    def stays_home(self, rabbit_queue: RabbitQueue) -> bool:
        """Say whether everything taken from a queue goes to the same RabbitMQ."""
        other = Side.LEGACY if rabbit_queue.address.side is Side.UNIFIED else Side.UNIFIED
        home = self.whole.identity(rabbit_queue.address)
        return all(identity == home for (side, _), identity in self.whole.identities.items() if side is other)

    def unified_on_rabbitmq(self) -> bool:
        """Say whether the unified queue is on RabbitMQ."""
        return self.whole.identities[Side.UNIFIED, System.CELERY] in self.rabbits

    @property
    def parks(self) -> bool:
        """Whether messages that are due late are parked: only Redis needs that."""
        return not self.unified_on_rabbitmq()

    def allow_parking(self, options: TransferOptions) -> None:
        """Set the ETA from which messages are parked."""
        plan = self.whole.plan
        parks = options.park and self.parks
        self.whole.park_after_ms = park_after_ms(plan, self.whole.now_ms()) if parks else None
        self.whole.release_lead_ms = release_lead_ms(plan)

    def with_consumer_timeout(self) -> Connections:
        """Return all endpoints, with the time that a worker of the unified queue may really hold a message."""
        if not self.unified_on_rabbitmq():
            return self.whole
        plan = self.whole.plan
        return replace(
            self.whole, plan=replace(plan, unified=replace(plan.unified, visibility_timeout_s=self.consumer_timeout_s))
        )

    def too_late_ms(self) -> float:
        """Return the latest ETA, in ms since the epoch, that a worker may hold."""
        # On Redis such a message is parked or quarantined.
        return self.whole.now_ms() + self.consumer_timeout_s * 1000 if self.unified_on_rabbitmq() else math.inf

    @property
    def returned(self) -> int:
        """How many messages a crash of a server redelivered that had been moved already."""
        return sum(window.returned for log in self.dedup_logs.values() for window in log.windows.values())

    def tidy(self) -> None:
        """Delete our queues that are empty, once the server has had time to write the acknowledgements."""
        written_at = max((log.committed_at for log in self.dedup_logs.values()), default=0.0) + WRITTEN_AFTER_S
        time.sleep(max(0.0, written_at - time.monotonic()))
        for identity, session in self.sessions.items():
            for endpoint in self.endpoints(identity):
                for rabbit_queue in rabbit_queues(endpoint):
                    for queue in (rabbit_queue.moving, rabbit_queue.filtered_out, rabbit_queue.quarantined):
                        session.close_consumer(queue)
                        delete_if_empty(session.connection, queue)
                session.close_consumer(arriving_queue(endpoint))
                delete_if_empty(session.connection, arriving_queue(endpoint))
            self.dedup_logs[identity].end(session.connection)
            delete_if_empty(session.connection, ALIVE)


def open_mixed_connections(plan: Plan, environ: Mapping[str, str]) -> MixedConnections:
    """Find out which server every endpoint is on.

    Raises:
        UnreachableError: A server does not answer.
        RefusedError: Two endpoints share a queue.
    """
    opened: dict[tuple[Side, System], Any] = {}
    redis_servers: dict[str, Any] = {}
    rabbits: dict[str, RabbitmqServer] = {}
    identities: dict[tuple[Side, System], str] = {}
    for endpoint in (*plan.legacy, plan.unified):
        key = (endpoint.side, endpoint.system)
        broker: Any = connect(endpoint, environ)
        opened[key] = broker
        if isinstance(broker.server, RabbitmqServer):
            with broker.server.connected() as connection:
                identities[key] = broker.server.identity(connection)
            rabbits.setdefault(identities[key], broker.server)
            continue
        with broker.server.translated():
            identities[key] = broker.server.identity()
        broker.server = redis_servers.setdefault(identities[key], broker.server)
    whole = Connections(plan=plan, brokers=opened, servers=redis_servers, identities=identities)
    on_redis = {key: broker for key, broker in opened.items() if identities[key] in redis_servers}
    redis_connections = Connections(plan=plan, brokers=on_redis, servers=redis_servers, identities=identities)
    _refuse_shared_queues(whole)
    return MixedConnections(whole=whole, redis=redis_connections, rabbits=rabbits)


def _refuse_shared_queues(connections: Connections) -> None:
    taken: dict[tuple[str, str], str] = {}
    for key, broker in connections.brokers.items():
        name = f"{key[0].value}.{key[1].value}"
        for queue in broker.endpoint.queues:
            other = taken.setdefault((connections.identities[key], queue), name)
            if other != name and connections.identities[key].startswith("rabbitmq:"):
                raise RefusedError(
                    f"{name}.queues",
                    f"{other} uses the same queue; on RabbitMQ each declares it with other arguments (406)",
                    found=queue,
                    remedy="give each a queue of its own",
                )
            if other != name and {key[1]} == {System.CELERY} and other.endswith("celery"):
                raise RefusedError(
                    f"{name}.queues",
                    "legacy and unified tasks share a queue, so old and new messages can't be told apart",
                    found=queue,
                    remedy="give the unified side a queue of its own",
                )
