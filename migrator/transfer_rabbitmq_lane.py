"""The connection of a transfer to one RabbitMQ: its lock, and queues that are emptied in transactions.

The lock is an exclusive queue: it belongs to the connection and goes with it, whatever ends the run. All that the
transfer does on a broker goes over the connection that holds the lock, so a run that was overtaken can change nothing
any more. A killed run's connection is closed by its system at once, that of a paused one by the server after two
missed heartbeats.

A transaction publishes and acknowledges together. What was published is on the server's disk when the commit returns;
acknowledgements are written a moment later. So a server that *crashes* (power cut, kill -9; not a restart in good
order) brings back messages of the last second or so that were already carried: seen 200 to 800 of 1500, none lost.
:mod:`migrator.transfer_rabbitmq_window` knows them again.

Source: rabbit_channel.erl (tx.commit: deliver, then acknowledge, then wait for confirmation; exclusive queues are
deleted when their connection has ended, which is after its channels have).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import amqp

from migrator.brokers.rabbitmq_management import Management
from migrator.brokers.rabbitmq_queues import LOCK, declare_missing, declare_own
from migrator.brokers.rabbitmq_server import ERRORS, RabbitmqServer, failure, patient
from migrator.errors import UnreachableError
from migrator.transfer_rabbitmq_window import Window, was_restarted
from migrator.translation import Place

HEARTBEAT_S = 30
_EMPTY_AFTER_S = 0.01
_WAIT_S = 30.0


class Intake:
    """One queue, emptied in transactions that may publish as well.

    Args:
        connection: The connection that holds the lock.
        queue: Its name.
        size: How many messages one transaction takes at most.
        ensure: Makes a queue that has gone meanwhile.
        windows: What was taken from the queues of this server before.
    """

    def __init__(
        self, connection: Any, queue: str, size: int, ensure: Callable[[str], None], *, windows: dict[str, Window]
    ) -> None:
        self.queue = queue
        self._connection = connection
        self._windows = windows
        self._window = windows.setdefault(queue, Window(queue=queue))
        self._taken: list[Any] = []
        self._ensure = ensure
        self._waiting: deque[Any] = deque()
        self._returned: list[tuple[str, Any]] = []
        self._last_tag = 0
        self._channel = connection.channel()
        self._channel.events["basic_return"].add(self._on_return)
        self._channel.tx_select()
        # The next batch is on its way while this one is worked on.
        self._channel.basic_qos(prefetch_size=0, prefetch_count=size * 2, a_global=False)
        self._tag = self._channel.basic_consume(queue, callback=self._waiting.append)

    def take(self, number: int, *, expected: int = 0) -> list[Any]:
        """Return the next messages, fewer when the queue ends before; nothing is settled until :meth:`commit`.

        Args:
            number: At most so many.
            expected: So many are known to be there: wait for them.
        """
        while taken := self._next(number, expected):
            self._taken += taken
            if fresh := self._window.fresh(taken):
                return fresh
            self.commit()
        return []

    def _next(self, number: int, expected: int) -> list[Any]:
        deadline = time.monotonic() + _WAIT_S
        while len(self._waiting) < number:
            before = len(self._waiting)
            with suppress(TimeoutError):
                self._connection.drain_events(timeout=_EMPTY_AFTER_S)
            if len(self._waiting) > before:
                continue
            # On the consumer's channel, so what was delivered before this answer has been seen.
            _, ready, _ = self._channel.queue_declare(queue=self.queue, passive=True)
            if len(self._waiting) > before or len(self._waiting) < expected or ready:
                if time.monotonic() > deadline:
                    raise UnreachableError(self.queue, f"the server delivered nothing for {_WAIT_S:g} s")
                continue
            break
        taken = [self._waiting.popleft() for _ in range(min(number, len(self._waiting)))]
        if taken:
            self._last_tag = taken[-1].delivery_tag
        return taken

    def publish(self, message: Any, queue: str, *, origin: Any = None) -> None:
        """Publish to a queue when the transaction is committed; ``origin`` is the message that it was made from."""
        if origin is not None:
            self._window.sent(queue, message, origin)
        with patient(self._connection, self.queue):
            self._channel.basic_publish(message, exchange="", routing_key=queue, mandatory=True)

    def commit(self) -> None:
        """Acknowledge what was taken and publish what was given, both or neither."""
        if self._last_tag:
            self._channel.basic_ack(self._last_tag, multiple=True)
            self._last_tag = 0
        with patient(self._connection, self.queue):
            self._commit()
        self._window.committed(self._taken, self._windows)
        self._taken = []

    def _commit(self) -> None:
        self._channel.tx_commit()
        while self._returned:
            # Somebody deleted the destination after it was found: the server dropped these, but we still have them.
            returned, self._returned = self._returned, []
            for queue, message in returned:
                self._ensure(queue)
                self.publish(message, queue)
            self._channel.tx_commit()

    def close(self) -> None:
        """End; what was taken and not committed goes back to its place."""
        with suppress(*ERRORS):
            self._channel.basic_cancel(self._tag)
            self._channel.close()

    def _on_return(self, _error: Any, _exchange: str, routing_key: str, message: Any) -> None:
        self._returned.append((routing_key, message))


class RabbitmqLane:
    """The connection that holds the lock of one broker.

    Args:
        server: The broker.
        connection: An open connection.
        windows: What the queues of this broker gave before, by queue; it outlives the connection.
    """

    def __init__(self, server: RabbitmqServer, connection: Any, windows: dict[str, Window]) -> None:
        self.server = server
        self._windows = windows
        self.connection = connection
        self._places: dict[str, Place] = {}
        self._known: set[str] = set()
        self._intakes: dict[str, Intake] = {}
        #: Destinations that were missing.
        self.made: list[str] = []

    def intake(self, queue: str, size: int) -> Intake:
        """Return the intake of a queue, opened on first use."""
        intake = self._intakes.get(queue)
        if intake is None:
            intake = Intake(self.connection, queue, size, self._make_again, windows=self._windows)
            self._intakes[queue] = intake
        return intake

    def close_intake(self, queue: str) -> None:
        """Stop taking from a queue."""
        intake = self._intakes.pop(queue, None)
        if intake is not None:
            intake.close()

    def own(self, queue: str) -> str:
        """Return one of our queues' names; it exists from then on."""
        if queue not in self._known:
            declare_own(self.connection, queue)
            self._known.add(queue)
        return queue

    def destination(self, place: Place) -> str:
        """Return the queue of a place; it exists from then on."""
        queue = place.wire_queue
        if queue not in self._known:
            self._places[queue] = place
            if declare_missing(self.connection, place):
                self.made.append(queue)
            self._known.add(queue)
        return queue

    def compare(self) -> None:
        """Find out whether the server was restarted, and what that means for the queues that were emptied."""
        restarted = was_restarted(self.connection)
        for window in self._windows.values():
            if restarted:
                window.after_restart(self.connection, self._windows)
            else:
                window.after_reconnect()

    def alive(self) -> None:
        """Tell the server that we are still there."""
        self.connection.send_heartbeat()

    def close(self, *, lost: bool = False) -> None:
        """End the connection, and the lock with it; one that is lost without a word to the server."""
        self._intakes.clear()
        with suppress(*ERRORS):
            if lost:
                self.connection.collect()
            else:
                self.connection.close()

    def _make_again(self, queue: str) -> None:
        self._known.discard(queue)
        if queue in self._places:
            self.destination(self._places[queue])
        else:
            self.own(queue)


def open_lane(
    server: RabbitmqServer,
    *,
    wait_s: float,
    windows: dict[str, Window] | None = None,
    break_lock: Management | None = None,
) -> RabbitmqLane:
    """Connect and take the lock; py-amqp's errors of the connection pass.

    Args:
        server: The broker.
        wait_s: How long to wait for another run's lock.
        windows: What the queues of this broker gave to this run before.
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
            return RabbitmqLane(server, connection, {} if windows is None else windows)
        except amqp.exceptions.ResourceLocked as error:
            if time.monotonic() >= deadline:
                with suppress(*ERRORS):
                    connection.close()
                raise failure(f"{server.where} {LOCK}", error) from error
            time.sleep(0.1)
