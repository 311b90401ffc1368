"""The session of a transfer on one RabbitMQ: its connection, its lock, its queues and its consumers.

The lock is an exclusive queue: it belongs to the connection and is deleted with it, whatever ends the run. Everything
that the transfer does on a broker goes over the connection that holds the lock, so a run that was overtaken can't
change anything any more. The connection of a killed run is closed by its operating system at once, that of a paused
run by the server after two missed heartbeats.

Source: rabbit_channel.erl (exclusive queues are deleted when their connection has ended, which is after its channels
have).
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import amqp

from migrator.brokers.rabbitmq.management import Management
from migrator.brokers.rabbitmq.queues import LOCK, FormOf, declare_missing, declare_own
from migrator.brokers.rabbitmq.server import ERRORS, RabbitmqServer, failure
from migrator.transfer.rabbitmq.consumer import TransactionalConsumer
from migrator.transfer.rabbitmq.dedup_window import DedupWindow, note_alive
from migrator.wire.queue_address import QueueAddress

HEARTBEAT_S = 30
#: How many messages one transaction takes at most.
PAGE = 500
#: A server confirms a new queue before it is on its disk: a crash loses the queue and what was committed to it, while
#: the acknowledgements of those messages may survive. Erlang writes its log after two seconds at the latest.
#: Source: disk_log_1.erl (the cache of ``fwrite``); observed on RabbitMQ 3.10.
QUEUE_WRITTEN_AFTER_S = 2.5


class LockedSession:
    """The connection that holds the lock of one broker.

    Args:
        server: The broker.
        connection: An open connection.
        windows: The deduplication windows of this broker by queue; they outlive the connection.
    """

    def __init__(self, server: RabbitmqServer, connection: Any, windows: dict[str, DedupWindow]) -> None:
        self.server = server
        self._windows = windows
        self.connection = connection
        self._addresses: dict[str, QueueAddress] = {}
        self._known: set[str] = set()
        self._consumers: dict[str, TransactionalConsumer] = {}
        #: How a destination queue is declared.
        self.form_of: FormOf | None = None
        #: Destination queues that were missing.
        self.created: list[str] = []
        self._written_at = 0.0

    def consumes(self, queue: str) -> bool:
        """Say whether a queue is consumed."""
        return queue in self._consumers

    def consumer(self, queue: str) -> TransactionalConsumer:
        """Return the consumer of a queue, opened on first use."""
        consumer = self._consumers.get(queue)
        if consumer is None:
            consumer = TransactionalConsumer(self.connection, queue, PAGE, self, windows=self._windows)
            self._consumers[queue] = consumer
        return consumer

    def finish(self, queue: str) -> None:
        """Wait until the commit in flight on a queue is confirmed, if there is one."""
        if queue in self._consumers:
            self._consumers[queue].finish()

    def close_consumer(self, queue: str) -> None:
        """Stop consuming a queue."""
        consumer = self._consumers.pop(queue, None)
        if consumer is not None:
            consumer.close()

    def own(self, queue: str) -> str:
        """Return the name of one of our queues, declared if missing."""
        if queue not in self._known:
            if declare_own(self.connection, queue):
                self.note_created()
            self._known.add(queue)
        return queue

    def destination(self, address: QueueAddress) -> str:
        """Return the name of a destination queue, declared if missing."""
        queue = address.wire_queue
        if queue not in self._known:
            self._addresses[queue] = address
            assert self.form_of is not None, "this session has no destinations"
            if declare_missing(self.connection, address, self.form_of):
                self.created.append(queue)
                self.note_created()
            self._known.add(queue)
        return queue

    def reconcile(self, *, restarted: bool) -> None:
        """Work out what a lost connection, or a restart of the server, means for the queues that were emptied."""
        for window in self._windows.values():
            window.abandon()
        if restarted:
            for window in self._windows.values():
                window.resolve_in_doubt(self.connection, self._windows)
            for window in self._windows.values():
                window.ack_redelivered(self.connection)
            note_alive(self.connection)

    def send_heartbeat(self) -> None:
        """Send the server a heartbeat."""
        self.connection.send_heartbeat()

    def close(self, *, lost: bool = False) -> None:
        """Close the connection, and release the lock with it; a lost connection is only dropped."""
        self._consumers.clear()
        with suppress(*ERRORS):
            if lost:
                self.connection.collect()
            else:
                self.connection.close()

    def note_created(self) -> None:
        """Take note of a new queue: a crash of the server within the next moments would lose it with its messages."""
        self._written_at = time.monotonic() + QUEUE_WRITTEN_AFTER_S

    def wait_until_written(self) -> None:
        """Wait until every queue declared here is on the server's disk; nothing is committed before."""
        time.sleep(max(0.0, self._written_at - time.monotonic()))

    def recreate(self, queue: str) -> None:
        """Declare a queue again that existed and has been deleted."""
        self._known.discard(queue)
        if queue in self._addresses:
            self.destination(self._addresses[queue])
        else:
            self.own(queue)


def open_session(
    server: RabbitmqServer,
    *,
    wait_s: float,
    windows: dict[str, DedupWindow] | None = None,
    break_lock: Management | None = None,
) -> LockedSession:
    """Connect and take the lock; py-amqp's connection errors propagate.

    Args:
        server: The broker.
        wait_s: How long to wait for another run's lock.
        windows: The deduplication windows of this broker.
        break_lock: The management plugin, to close the connection of the run that holds the lock.

    Raises:
        RefusedError: Another run holds it.
    """
    deadline = time.monotonic() + wait_s
    connection = server.open(heartbeat_s=HEARTBEAT_S)
    if break_lock is not None:
        break_lock.close_owner(server.virtual_host, LOCK)
    while True:
        try:
            connection.channel().queue_declare(queue=LOCK, exclusive=True, durable=False, auto_delete=False)
            return LockedSession(server, connection, {} if windows is None else windows)
        except amqp.exceptions.ResourceLocked as error:
            if time.monotonic() >= deadline:
                with suppress(*ERRORS):
                    connection.close()
                raise failure(f"{server.where} {LOCK}", error) from error
            time.sleep(0.1)
