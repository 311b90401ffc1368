"""One queue on RabbitMQ, emptied in transactions that publish as well.

A transaction publishes and acknowledges together. A commit may be left under way while the next batch is read and
translated; nothing is published or acknowledged on its channel before it is through. What was published is on the
server's disk when the commit is answered; acknowledgements are written a moment later. So a server that *crashes*
(power cut, kill -9; not a restart in good order) brings back messages of the last second or so that were already
carried: seen 200 to 800 of 1500, none lost. :mod:`migrator.transfer.rabbitmq.dedup_window` knows them again.

Source: rabbit_channel.erl (tx.commit: deliver, then acknowledge, then wait for confirmation);
amqp/abstract_channel.py (``_callbacks``: who hears an answer).
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import amqp

from migrator.brokers.rabbitmq.server import ERRORS, patient
from migrator.errors import UnreachableError
from migrator.transfer.rabbitmq.dedup_window import DedupWindow

_EMPTY_AFTER_S = 0.01
_WAIT_S = 30.0
#: So much is taken at once: a batch takes about ten times its bytes of memory while it is translated.
BATCH_BYTES = 2 << 20
_PREFETCH_FIRST, _PREFETCH_LEAST = 40, 4
#: Headers, properties and what Python needs for a message.
_OTHER_BYTES = 4096


class Queues(Protocol):
    """The queues of a server, as far as a transaction needs them."""

    def make_again(self, queue: str) -> None:
        """Make a queue that was there and has gone."""

    def until_written(self) -> None:
        """Wait until every queue that was made is on the server's disk."""


class TransactionalConsumer:
    """One queue, emptied in transactions that may publish as well.

    Args:
        connection: The connection that holds the lock.
        queue: Its name.
        size: How many messages one transaction takes at most.
        queues: Makes a queue that has gone meanwhile, and knows when those that were made are on the server's disk.
        windows: What was taken from the queues of this server before.
    """

    def __init__(
        self, connection: Any, queue: str, size: int, queues: Queues, *, windows: dict[str, DedupWindow]
    ) -> None:
        self.queue = queue
        self._connection = connection
        self._windows = windows
        self._window = windows.setdefault(queue, DedupWindow(queue=queue))
        self._taken: list[Any] = []
        self._queues = queues
        self._waiting: deque[Any] = deque()
        self._returned: list[tuple[str, Any]] = []
        self._last_tag = 0
        #: What is to be called when the commit under way is through.
        self._in_flight_batch: Callable[[], None] | None = None
        self._answered = False
        self._channel = connection.channel()
        self._channel.auto_decode = False
        self._channel._callbacks[amqp.spec.Tx.CommitOk] = self._on_commit
        self._channel.events["basic_return"].add(self._on_return)
        self._channel.tx_select()
        # The next batch is on its way while this one is worked on.
        self._most = size * 2
        self._prefetch = 0
        self._tag = ""
        self._consume(min(self._most, _PREFETCH_FIRST))

    def take(self, number: int, *, expected: int = 0) -> list[Any]:
        """Return the next messages, fewer when the queue ends before; nothing is settled until :meth:`commit`.

        Args:
            number: At most so many; fewer when they are long.
            expected: So many are known to be there: wait for them.
        """
        if expected > self._prefetch:
            # They were in memory together before.
            self._consume(expected)
        taken = self._next(expected or min(number, max(1, self._prefetch // 2)), expected)
        if taken:
            self._taken += taken
            self._adapt(taken)
        return taken

    def _consume(self, number: int) -> None:
        """Let the server send so many messages ahead; what it has sent already stays ours."""
        self.finish()
        if self._tag:
            self._channel.basic_cancel(self._tag)
        self._prefetch = number
        self._channel.basic_qos(prefetch_size=0, prefetch_count=number, a_global=False)
        self._tag = self._channel.basic_consume(self.queue, callback=self._waiting.append)

    def _adapt(self, taken: list[Any]) -> None:
        """Have fewer messages sent ahead when they are long: RabbitMQ counts them, and does not look at their size."""
        mean = sum(len(message.body) for message in taken) // len(taken) + _OTHER_BYTES
        wanted = max(_PREFETCH_LEAST, min(self._most, 2 * BATCH_BYTES // mean))
        if not self._prefetch // 2 <= wanted <= self._prefetch:
            self._consume(wanted)

    def _next(self, number: int, expected: int) -> list[Any]:
        deadline = time.monotonic() + _WAIT_S
        while len(self._waiting) < number:
            before = len(self._waiting)
            with suppress(TimeoutError):
                self._connection.drain_events(timeout=_EMPTY_AFTER_S)
            if len(self._waiting) > before:
                continue
            self.finish()
            if len(self._waiting) >= expected:
                # On the consumer's channel, so what was delivered before this answer has been seen.
                _, ready, _ = self._channel.queue_declare(queue=self.queue, passive=True)
            if len(self._waiting) > before or len(self._waiting) < expected or ready:
                if time.monotonic() > deadline:
                    raise UnreachableError(self.queue, f"the server delivered nothing for {_WAIT_S:g} s")
                continue
            break
        taken: list[Any] = []
        room = math.inf if expected else BATCH_BYTES
        while self._waiting and len(taken) < number and room > 0:
            taken.append(self._waiting.popleft())
            room -= len(taken[-1].body)
        if taken:
            self._last_tag = taken[-1].delivery_tag
        return taken

    def publish(self, message: Any, queue: str, *, origin: Any = None) -> None:
        """Publish to a queue when the transaction is committed; ``origin`` is the message that it was made from."""
        self.finish()
        if origin is not None:
            self._window.sent(queue, message, origin)
        with patient(self._connection, self.queue):
            self._channel.basic_publish(message, exchange="", routing_key=queue, mandatory=True)

    def commit(self, *, then: Callable[[], None] = lambda: None, wait: bool = True) -> None:
        """Acknowledge what was taken and publish what was given, both or neither.

        Args:
            then: What to call when that is done.
            wait: Until then; else it is done by :meth:`finish`, or by the next command on this queue.
        """
        self.finish()
        taken, self._taken = self._taken, []
        self._window.begin(taken, self._windows)
        with patient(self._connection, self.queue):
            if self._last_tag:
                self._channel.basic_ack(self._last_tag, multiple=True)
                self._last_tag = 0
            self._begin()
        self._in_flight_batch = then
        if wait:
            self.finish()

    def finish(self) -> None:
        """Wait until the commit under way is through, if there is one."""
        if self._in_flight_batch is None:
            return
        then = self._in_flight_batch
        with patient(self._connection, self.queue):
            self._await_answer()
            while self._returned:
                # Somebody deleted the destination after it was found: the server dropped these, we still have them.
                returned, self._returned = self._returned, []
                for queue, message in returned:
                    self._queues.make_again(queue)
                    self._channel.basic_publish(message, exchange="", routing_key=queue, mandatory=True)
                self._begin()
                self._await_answer()
        self._in_flight_batch = None
        self._window.committed(self._windows)
        then()

    def _begin(self) -> None:
        self._queues.until_written()
        self._answered = False
        self._channel.send_method(amqp.spec.Tx.Commit)

    def _await_answer(self) -> None:
        while not self._answered:
            self._connection.drain_events()

    def _on_commit(self, *_: Any) -> None:
        self._answered = True

    def close(self) -> None:
        """End; what was taken and not committed goes back to its place."""
        self.finish()
        with suppress(*ERRORS):
            self._channel.basic_cancel(self._tag)
            self._channel.close()

    def _on_return(self, _error: Any, _exchange: str, routing_key: str, message: Any) -> None:
        self._returned.append((routing_key, message))
