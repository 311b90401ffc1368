"""The connection to one RabbitMQ, its lock, and its deduplication."""

from __future__ import annotations

from collections.abc import Iterator

from migrator.brokers.rabbitmq.broker import RabbitmqBroker
from migrator.brokers.rabbitmq.browse import browse
from migrator.brokers.rabbitmq.management import Management
from migrator.brokers.rabbitmq.queues import FormOf, RabbitQueue, arriving_queue, rabbit_queues
from migrator.brokers.rabbitmq.server import CONNECTION_ERRORS, ERRORS, BlockedError, RabbitmqServer, count, failure
from migrator.brokers.rabbitmq.staging_headers import ID, own_header, public_copy
from migrator.errors import MigratorError, UnreachableError
from migrator.plan.model import Endpoint, Plan
from migrator.state.state_folder import ensure_state_folder
from migrator.transfer.ports import Peers
from migrator.transfer.rabbitmq.dedup_log import DedupLog, forget_dedup_log, open_dedup_log
from migrator.transfer.rabbitmq.dedup_window import was_restarted
from migrator.transfer.rabbitmq.session import PAGE, LockedSession, open_session

_LOCK_AGAIN_S = 5.0


class RabbitLink:
    """One virtual host.

    Args:
        plan: The plan.
        server: Opens the connections.
        identity: What distinguishes this virtual host from any other.
        peers: All servers of the run.
    """

    errors = (*ERRORS, UnreachableError)

    def __init__(self, plan: Plan, server: RabbitmqServer, identity: str, peers: Peers) -> None:
        self.server = server
        self.where = server.where
        self.identity = identity
        self.peers = peers
        self.brokers: list[RabbitmqBroker] = []
        #: How a destination queue that is missing is declared.
        self.form_of: FormOf | None = None
        self._plan = plan
        self._session: LockedSession | None = None
        self._log: DedupLog | None = None
        #: Ids of messages that came from other servers before this connection was made and are not yet in their queues.
        self._arrived: set[str] = set()
        #: Destination queues that were missing.
        self._created: set[str] = set()
        #: What was pushed last, by queue.
        self._pushed: dict[str, int] = {}

    @property
    def session(self) -> LockedSession:
        """The connection that holds the lock."""
        assert self._session is not None, "the lock was not taken"
        return self._session

    @property
    def _endpoints(self) -> list[Endpoint]:
        return [broker.endpoint for broker in self.brokers]

    def lock(self, *, wait_s: float, takeover: bool) -> None:
        """Take the lock; with ``takeover``, close the other run's connection where the management plugin is named."""
        windows = self._dedup_log().windows
        with self.server.translated():
            breaker = self._management() if takeover else None
            self._session = open_session(self.server, wait_s=wait_s, windows=windows, break_lock=breaker)
            self._session.form_of = self.form_of

    @property
    def mark(self) -> str:
        """Nothing: durable queues outlive a restart."""
        return ""

    def leave_mark(self) -> None:
        """Do nothing."""

    def recall(self, mark: str = "") -> None:
        """Do nothing."""

    def begin(self) -> None:
        """Look at what earlier runs have left: redelivered messages, and what has arrived from other servers."""
        session, log = self.session, self._dedup_log()
        restarted = was_restarted(session.connection)
        if log.attach(session.connection, restarted=restarted):
            session.note_created()
        session.reconcile(restarted=restarted)
        self._arrived = {
            own_header(message, ID)
            for endpoint in self._endpoints
            for message in browse(session.connection, arriving_queue(endpoint))
        }

    def forget(self) -> None:
        """Invalidate what any run has recorded about this server: its messages are about to be replaced."""
        forget_dedup_log(self.session.connection)

    def reconnect(self) -> None:
        """After an error: connect and take the lock again."""
        self._drop(lost=True)
        self.lock(wait_s=_LOCK_AGAIN_S, takeover=False)
        self.begin()

    def keep_lock(self) -> None:
        """Send a heartbeat: the lock lives as long as the connection."""
        self.session.send_heartbeat()

    def release(self) -> None:
        """Close the connection, and release the lock with it."""
        self._drop()

    close = release

    def _drop(self, *, lost: bool = False) -> None:
        session, self._session = self._session, None
        self._pushed = {}
        if session is not None:
            self._created.update(session.created)
            session.close(lost=lost)

    def _dedup_log(self) -> DedupLog:
        if self._log is None:
            queues = [arriving_queue(endpoint) for endpoint in self._endpoints]
            for queue in self._queues():
                queues += [queue.queue, queue.moving, queue.filtered_out, queue.quarantined]
            self._log = open_dedup_log(ensure_state_folder(self._plan), self.identity, queues)
        return self._log

    def _queues(self) -> Iterator[RabbitQueue]:
        for endpoint in self._endpoints:
            yield from rabbit_queues(endpoint)

    def _management(self) -> Management | None:
        return next((broker.management for broker in self.brokers if broker.management), None)

    def is_transient(self, error: Exception) -> bool:
        """Say whether connecting again may help."""
        return isinstance(error, (*CONNECTION_ERRORS, UnreachableError)) and not isinstance(error, BlockedError)

    def failure(self, error: Exception, where: str) -> MigratorError:
        """Return an error of py-amqp as one of ours."""
        return failure(where, error)

    def move_back(self, at: RabbitQueue, queue: str) -> int:
        """Move all messages of one of our queues to the queue that they came from; return how many."""
        if count(self.session.connection, queue) is None:
            return 0
        consumer, moved = self.session.consumer(queue), 0
        while batch := consumer.take(PAGE):
            for message in batch:
                consumer.publish(public_copy(message), self.session.destination(at.address), origin=message)
            consumer.commit(batch, wait=False)
            moved += len(batch)
            self.peers.keep_locks()
        self.session.close_consumer(queue)
        return moved
