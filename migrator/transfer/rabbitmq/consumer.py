"""A consumer of one RabbitMQ queue in transactions that publish as well.

A transaction publishes and acknowledges together. A commit may stay in flight while the next batch is read and
translated; nothing is published or acknowledged on its channel before it is confirmed. What was published is on the
server's disk when the commit is confirmed; acknowledgements are written a moment later. So a server that *crashes*
(power cut, kill -9; not an orderly restart) redelivers messages of the last second or so that were already moved:
observed 200 to 800 of 1500, none lost. :mod:`migrator.transfer.rabbitmq.dedup_window` recognises them.

Source: rabbit_channel.erl (tx.commit: deliver, then acknowledge, then wait for confirmation);
amqp/abstract_channel.py (``_callbacks``: which handler gets an answer).
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import amqp

from migrator.brokers.rabbitmq.server import ERRORS, detect_blocked
from migrator.errors import UnreachableError
from migrator.transfer.rabbitmq.dedup_window import DedupWindow

_EMPTY_AFTER_S = 0.01
_WAIT_S = 30.0
#: At most this much is taken at once: a batch takes about ten times its bytes of memory while it is translated.
BATCH_BYTES = 2 << 20
_PREFETCH_FIRST, _PREFETCH_LEAST = 40, 4
#: Headers, properties and Python's overhead per message.
_OTHER_BYTES = 4096


class Queues(Protocol):
    """What a transaction needs to know about the queues of a server."""

    def recreate(self, queue: str) -> None:
        """Declare a queue again that existed and has been deleted."""

    def wait_until_written(self) -> None:
        """Wait until every declared queue is on the server's disk."""


class TransactionalConsumer:
    """Consumes one queue in transactions that may publish as well.

    Args:
        connection: The connection that holds the lock.
        queue: Its name.
        size: How many messages one transaction takes at most.
        queues: Declares deleted queues again, and knows when declared queues are on the server's disk.
        windows: The deduplication windows of this server's queues.
    """

    def __init__(
        self, connection: Any, queue: str, size: int, queues: Queues, *, windows: dict[str, DedupWindow]
    ) -> None:
        self.queue = queue
        self._connection = connection
        self._windows = windows
        self._window = windows.setdefault(queue, DedupWindow(queue=queue))
        self._queues = queues
        self._waiting: deque[Any] = deque()
        self._returned: list[tuple[str, Any]] = []
        #: Called when the commit in flight is confirmed; None if there is none.
        self._on_committed: Callable[[], None] | None = None
        self._answered = False
        self._channel = connection.channel()
        self._channel.auto_decode = False
        self._channel._callbacks[amqp.spec.Tx.CommitOk] = self._on_commit
        self._channel.events["basic_return"].add(self._on_return)
        self._channel.tx_select()
        # The next batch is delivered while this one is processed.
        self._most = size * 2
        self._prefetch = 0
        self._consumer_tag = ""
        self._consume(min(self._most, _PREFETCH_FIRST))

    def take(self, number: int, *, expected: int = 0) -> list[Any]:
        """Return the next messages, fewer at the end of the queue; they are acknowledged by :meth:`commit`.

        At most two batches may be out at one time.

        Args:
            number: At most this many; fewer when they are long.
            expected: This many are known to be there: wait for them.
        """
        if 2 * expected > self._prefetch:
            # They fitted into memory together before.
            self._consume(2 * expected)
        messages = self._next(expected or min(number, max(1, self._prefetch // 2)), expected)
        if messages:
            self._adapt(messages)
        return messages

    def _consume(self, number: int) -> None:
        """Set the prefetch count; what the server has delivered already stays ours."""
        self.finish()
        if self._consumer_tag:
            self._channel.basic_cancel(self._consumer_tag)
        self._prefetch = number
        self._channel.basic_qos(prefetch_size=0, prefetch_count=number, a_global=False)
        self._consumer_tag = self._channel.basic_consume(self.queue, callback=self._waiting.append)

    def _adapt(self, messages: list[Any]) -> None:
        """Prefetch fewer messages when they are long: RabbitMQ limits their number, not their size."""
        mean = sum(len(message.body) for message in messages) // len(messages) + _OTHER_BYTES
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
                # On the consumer's channel, so everything delivered before this answer has been received.
                _, ready, _ = self._channel.queue_declare(queue=self.queue, passive=True)
            if len(self._waiting) > before or len(self._waiting) < expected or ready:
                if time.monotonic() > deadline:
                    raise UnreachableError(self.queue, f"the server delivered nothing for {_WAIT_S:g} s")
                continue
            break
        messages: list[Any] = []
        room = math.inf if expected else BATCH_BYTES
        while self._waiting and len(messages) < number and room > 0:
            messages.append(self._waiting.popleft())
            room -= len(messages[-1].body)
        return messages

    def publish(self, message: Any, queue: str, *, origin: Any = None) -> None:
        """Publish to a queue in the current transaction; ``origin`` is the message that it was made from."""
        self.finish()
        if origin is not None:
            self._window.note_published(queue, message, origin)
        with detect_blocked(self._connection, self.queue):
            self._channel.basic_publish(message, exchange="", routing_key=queue, mandatory=True)

    def commit(self, messages: list[Any], *, then: Callable[[], None] = lambda: None, wait: bool = True) -> None:
        """Acknowledge the messages of one batch and publish those given, both or neither.

        Args:
            messages: The batch, as it was taken.
            then: Called when the commit is confirmed.
            wait: Wait for that; otherwise :meth:`finish` does, or the next command on this queue.
        """
        self.finish()
        self._window.begin(messages, self._windows)
        with detect_blocked(self._connection, self.queue):
            if messages:
                self._channel.basic_ack(messages[-1].delivery_tag, multiple=True)
            self._send_commit()
        self._on_committed = then
        if wait:
            self.finish()

    def finish(self) -> None:
        """Wait until the commit in flight is confirmed, if there is one."""
        if self._on_committed is None:
            return
        then = self._on_committed
        with detect_blocked(self._connection, self.queue):
            self._await_answer()
            while self._returned:
                # The destination was deleted after we found it: the server dropped these messages, we still have them.
                returned, self._returned = self._returned, []
                for queue, message in returned:
                    self._queues.recreate(queue)
                    self._channel.basic_publish(message, exchange="", routing_key=queue, mandatory=True)
                self._send_commit()
                self._await_answer()
        self._on_committed = None
        self._window.committed(self._windows)
        then()

    def _send_commit(self) -> None:
        self._queues.wait_until_written()
        self._answered = False
        self._channel.send_method(amqp.spec.Tx.Commit)

    def _await_answer(self) -> None:
        while not self._answered:
            self._connection.drain_events()

    def _on_commit(self, *_: Any) -> None:
        self._answered = True

    def close(self) -> None:
        """Close; messages taken and not committed are requeued in their place."""
        self.finish()
        with suppress(*ERRORS):
            self._channel.basic_cancel(self._consumer_tag)
            self._channel.close()

    def _on_return(self, _error: Any, _exchange: str, routing_key: str, message: Any) -> None:
        self._returned.append((routing_key, message))
