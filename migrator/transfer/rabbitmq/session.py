"""The connection of a transfer to one RabbitMQ: its lock, its queues, and what is emptied over it.

The lock is an exclusive queue: it belongs to the connection and goes with it, whatever ends the run. All that the
transfer does on a broker goes over the connection that holds the lock, so a run that was overtaken can change nothing
any more. A killed run's connection is closed by its system at once, that of a paused one by the server after two
missed heartbeats.

Source: rabbit_channel.erl (exclusive queues are deleted when their connection has ended, which is after its channels
have).
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import amqp

from migrator.brokers.rabbitmq.management import Management
from migrator.brokers.rabbitmq.queues import LOCK, declare_missing, declare_own
from migrator.brokers.rabbitmq.server import ERRORS, RabbitmqServer, failure
from migrator.transfer.rabbitmq.consumer import TransactionalConsumer
from migrator.transfer.rabbitmq.dedup_window import DedupWindow, note_alive
from migrator.wire.queue_address import QueueAddress

HEARTBEAT_S = 30
#: A server tells of a new queue before it is on its disk: a crash takes it back, and what was committed to it as well,
#: while the messages' acknowledgements may stay. Erlang writes its log at the latest after two seconds.
#: Source: disk_log_1.erl (the cache of ``fwrite``); seen on RabbitMQ 3.10.
QUEUE_WRITTEN_AFTER_S = 2.5


class LockedSession:
    """The connection that holds the lock of one broker.

    Args:
        server: The broker.
        connection: An open connection.
        windows: What the queues of this broker gave before, by queue; it outlives the connection.
    """

    def __init__(self, server: RabbitmqServer, connection: Any, windows: dict[str, DedupWindow]) -> None:
        self.server = server
        self._windows = windows
        self.connection = connection
        self._addresses: dict[str, QueueAddress] = {}
        self._known: set[str] = set()
        self._consumers: dict[str, TransactionalConsumer] = {}
        #: Destinations that were missing.
        self.made: list[str] = []
        self._written_at = 0.0

    def consumer(self, queue: str, size: int) -> TransactionalConsumer:
        """Return the intake of a queue, opened on first use."""
        consumer = self._consumers.get(queue)
        if consumer is None:
            consumer = TransactionalConsumer(self.connection, queue, size, self, windows=self._windows)
            self._consumers[queue] = consumer
        return consumer

    def finish(self, queue: str) -> None:
        """Wait until the commit under way on a queue is through, if there is one."""
        if queue in self._consumers:
            self._consumers[queue].finish()

    def close_consumer(self, queue: str) -> None:
        """Stop taking from a queue."""
        consumer = self._consumers.pop(queue, None)
        if consumer is not None:
            consumer.close()

    def own(self, queue: str) -> str:
        """Return one of our queues' names; it exists from then on."""
        if queue not in self._known:
            if declare_own(self.connection, queue):
                self.note_new()
            self._known.add(queue)
        return queue

    def destination(self, address: QueueAddress) -> str:
        """Return the queue of a place; it exists from then on."""
        queue = address.wire_queue
        if queue not in self._known:
            self._addresses[queue] = address
            if declare_missing(self.connection, address):
                self.made.append(queue)
                self.note_new()
            self._known.add(queue)
        return queue

    def compare(self, *, restarted: bool) -> None:
        """Find out what a lost connection, or a restart of the server, means for the queues that were emptied."""
        for window in self._windows.values():
            window.abandon()
        if restarted:
            for window in self._windows.values():
                window.resolve_in_doubt(self.connection, self._windows)
            for window in self._windows.values():
                window.ack_redelivered(self.connection)
            note_alive(self.connection)

    def alive(self) -> None:
        """Tell the server that we are still there."""
        self.connection.send_heartbeat()

    def close(self, *, lost: bool = False) -> None:
        """End the connection, and the lock with it; one that is lost without a word to the server."""
        self._consumers.clear()
        with suppress(*ERRORS):
            if lost:
                self.connection.collect()
            else:
                self.connection.close()

    def note_new(self) -> None:
        """A queue was made: it may go, with all that is committed to it, if the server crashes now."""
        self._written_at = time.monotonic() + QUEUE_WRITTEN_AFTER_S

    def until_written(self) -> None:
        """Wait until every queue that was made here is on the server's disk; nothing is committed before."""
        time.sleep(max(0.0, self._written_at - time.monotonic()))

    def make_again(self, queue: str) -> None:
        """Make a queue that was there and has gone."""
        self._known.discard(queue)
        if queue in self._addresses:
            self.destination(self._addresses[queue])
        else:
            self.own(queue)


def open_lane(
    server: RabbitmqServer,
    *,
    wait_s: float,
    windows: dict[str, DedupWindow] | None = None,
    break_lock: Management | None = None,
) -> LockedSession:
    """Connect and take the lock; py-amqp's errors of the connection pass.

    Args:
        server: The broker.
        wait_s: How long to wait for another run's lock.
        windows: What the queues of this broker gave before.
        break_lock: Close the connection of the run that holds the lock, with the help of the management plugin.

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
