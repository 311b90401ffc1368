"""The deduplication window of a RabbitMQ queue: recognises messages that a crash of the server redelivers.

A transaction's messages are on the server's disk when its commit is confirmed; its acknowledgements are written a
moment later. A server that crashes in between has those messages in both queues afterwards. So the messages last
consumed from each queue are remembered, by their content, until the run ends;
:mod:`migrator.transfer.rabbitmq.dedup_log` keeps that for the next run, should this one be killed. After a restart of
the server, and before anything else, the waiting messages are compared with them: one that was moved already is
acknowledged. For a transaction whose outcome is in doubt, the copies are looked up in the queues to which they were
published.

A restart is distinguished from a lost connection by a queue that is not durable, so it does not survive a restart. It
is declared again when everything is compared, so a run that dies on the way leaves the comparison to the next run.
Without a restart nothing is redelivered, and nothing is compared.

A message counts as redelivered only if the server says that it had been delivered before (after a crash it says so of
all). Two messages with the same id and the same content can't be told apart otherwise: of those that were in a queue
when its server crashed, one may be taken for the other.

Source: rabbit_channel.erl (tx.commit), rabbit_queue_index.erl (acknowledgements are collected in a journal of at most
32,768 entries before they are written; what is recovered after a crash counts as delivered).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Protocol

import amqp

from migrator.brokers.rabbitmq.browse import browse
from migrator.brokers.rabbitmq.codec import body_of
from migrator.brokers.rabbitmq.queues import ALIVE
from migrator.brokers.rabbitmq.staging_headers import ID

#: More than the server's journal holds. Redelivered messages are at the head of their queue, so no more are read.
MOST = 50_000
_FORGET_ALIVE_MS = 24 * 3600 * 1000
#: How many messages are read between two heartbeats.
_HEARTBEAT_EVERY = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """What one transaction consumes from a queue and publishes, by fingerprints."""

    consumed: tuple[bytes, ...]
    #: Queue, copy, and the position in ``consumed`` of the message that it was made from.
    published: tuple[tuple[str, bytes, int], ...]


class Log(Protocol):
    """Where windows are recorded."""

    def begin(self, queue: str, transaction: Transaction, *, at_once: bool) -> None:
        """Record what is about to be committed; ``at_once``: it must survive a crash of this machine."""

    def commit(self, queue: str) -> None:
        """Record that the transaction recorded last for a queue is committed."""


@dataclass(slots=True, kw_only=True)
class DedupWindow:
    """The messages last consumed from one queue."""

    queue: str
    log: Log | None = None
    _order: deque[bytes] = field(default_factory=deque)
    #: How often each was consumed.
    _known: dict[bytes, int] = field(default_factory=dict)
    #: Of the transaction in preparation: queue, copy, and tag of the delivery that it was made from.
    _published: list[tuple[str, bytes, int]] = field(default_factory=list)
    #: The last transaction, until it is known to be committed.
    pending: Transaction | None = None
    #: Redelivered messages that were acknowledged instead of moved again.
    returned: int = 0

    def note_published(self, queue: str, copy: Any, origin: Any) -> None:
        """Take note of what a transaction will publish, and from which message it was made."""
        self._published.append((queue, fingerprint(copy), origin.delivery_tag))

    def begin(self, taken: list[Any], windows: Mapping[str, DedupWindow]) -> None:
        """Record a transaction that is about to be committed.

        Args:
            taken: Its messages.
            windows: The windows of all queues of the server.
        """
        position = {message.delivery_tag: index for index, message in enumerate(taken)}
        self._begin(
            Transaction(
                consumed=tuple(map(fingerprint, taken)),
                published=tuple((queue, copy, position[tag]) for queue, copy, tag in self._published),
            ),
            windows,
        )
        self._published.clear()

    def _begin(self, transaction: Transaction, windows: Mapping[str, DedupWindow]) -> None:
        self.pending = transaction if transaction.consumed else None
        if self.log is not None and self.pending:
            again = any(queue in windows and windows[queue].knows(copy) for queue, copy, _ in transaction.published)
            self.log.begin(self.queue, transaction, at_once=again)

    def committed(self, windows: Mapping[str, DedupWindow]) -> None:
        """The transaction is committed: remember its messages; what it put into one of the queues belongs there."""
        if self.pending is not None:
            self.apply(self.pending, windows)
            self.pending = None
            if self.log is not None:
                self.log.commit(self.queue)

    def apply(self, transaction: Transaction, windows: Mapping[str, DedupWindow]) -> None:
        """Remember what a transaction did."""
        for queue, copy, _ in transaction.published:
            if queue in windows:
                windows[queue].forget(copy)
        for key in transaction.consumed:
            self.remember(key)

    def abandon(self) -> None:
        """The connection was lost: what was not committed will be delivered again."""
        self._published.clear()

    def resolve_in_doubt(self, connection: Any, windows: Mapping[str, DedupWindow]) -> None:
        """The server was restarted: find out what of the last transaction it has."""
        transaction, self.pending = self.pending, None
        if transaction is None:
            return
        there = {
            queue: _find(connection, queue, Counter(copy for to, copy, _ in transaction.published if to == queue))
            for queue in {queue for queue, _, _ in transaction.published}
        }
        done = []
        for queue, copy, index in transaction.published:
            if there[queue][copy] > 0:
                there[queue][copy] -= 1
                done.append((queue, copy, index))
        consumed = tuple(transaction.consumed[index] for _, _, index in done)
        published = tuple((queue, copy, number) for number, (queue, copy, _) in enumerate(done))
        self._begin(Transaction(consumed=consumed, published=published), windows)
        self.committed(windows)

    def ack_redelivered(self, connection: Any) -> None:
        """The server was restarted: acknowledge redelivered messages, and leave the rest where it is."""
        outstanding = dict(self._known)
        if not outstanding:
            return
        with closing(_head(connection, self.queue)) as messages:
            for message in messages:
                key = fingerprint(message)
                if message.delivery_info["redelivered"] and outstanding.get(key, 0) > 0:
                    # Once: a second one with the same content is another message.
                    outstanding[key] -= 1
                    message.channel.basic_ack(message.delivery_tag)
                    self.returned += 1

    def knows(self, key: bytes) -> bool:
        """Say whether such a message was consumed and has not been published here again since."""
        return key in self._known

    def remember(self, key: bytes) -> None:
        """Remember a consumed message."""
        if len(self._order) >= MOST:
            self.forget(self._order.popleft())
        self._order.append(key)
        self._known[key] = self._known.get(key, 0) + 1

    def forget(self, key: bytes) -> None:
        """Forget a message that was published (back) to this queue: it counts as new."""
        left = self._known.pop(key, 0) - 1
        if left > 0:
            self._known[key] = left

    def content(self) -> Iterator[bytes]:
        """Yield what is remembered, oldest first."""
        left = dict(self._known)
        for key in self._order:
            if left.get(key, 0) > 0:
                left[key] -= 1
                yield key

    def clear(self) -> None:
        """Forget everything."""
        self._order.clear()
        self._known.clear()
        self._published.clear()
        self.pending = None


def fingerprint(message: Any) -> bytes:
    """Return what distinguishes a message from any other: its body, and the ids that are not in it."""
    headers, properties = message.headers or {}, message.properties
    ids = (properties.get("correlation_id"), properties.get("message_id"))
    marks = (headers.get("id"), headers.get("retries"), headers.get(ID), *ids)
    return blake2b(body_of(message) + repr(marks).encode(), digest_size=16).digest()


def was_restarted(connection: Any) -> bool:
    """Say whether the server was restarted since :func:`note_alive`; also true if that was never called."""
    channel = connection.channel()
    with suppress(amqp.exceptions.NotFound):
        channel.queue_declare(queue=ALIVE, passive=True)
        channel.close()
        return False
    return True


def note_alive(connection: Any) -> None:
    """Leave a marker that disappears with a restart of the server, and by itself after a day."""
    channel = connection.channel()
    # A server may forbid such queues; then each lost connection counts as a restart.
    with suppress(amqp.exceptions.ChannelError):
        channel.queue_declare(queue=ALIVE, durable=False, auto_delete=False, arguments={"x-expires": _FORGET_ALIVE_MS})
        channel.close()


def _find(connection: Any, queue: str, wanted: Counter[bytes]) -> Counter[bytes]:
    """Return which of the wanted messages are in a queue."""
    found: Counter[bytes] = Counter()
    with closing(browse(connection, queue)) as messages:
        for number, message in enumerate(messages, 1):
            key = fingerprint(message)
            if found[key] < wanted[key]:
                found[key] += 1
            _keep_alive(connection, number)
    return found


def _head(connection: Any, queue: str) -> Generator[Any, None, None]:
    with closing(browse(connection, queue)) as messages:
        for number, message in enumerate(messages, 1):
            yield message
            _keep_alive(connection, number)
            if number >= MOST:
                return


def _keep_alive(connection: Any, number: int) -> None:
    if number % _HEARTBEAT_EVERY == 0:
        connection.send_heartbeat()
