"""What was taken from a queue on RabbitMQ lately: known again if a crash of the server brings it back.

A transaction's messages are on the server's disk when its commit returns; its acknowledgements are written a moment
later. A server that crashes in between has those messages in both queues afterwards. So the last ones that each queue
gave are remembered, by what is in them, until the run ends; :mod:`migrator.transfer.rabbitmq.dedup_log` keeps that for
the next run, should this one be killed. After a restart of the server, and before anything else, the messages that wait
are compared with them: one that was carried already is acknowledged. Of a transaction whose outcome is unknown, the
copies are looked for in the queues to which they were published.

A restart is told from a lost connection by a queue that is not durable: it does not survive one. It is made again when
all is compared, so whoever dies on the way leaves the comparing to the next run. Without a restart nothing comes back,
and nothing is compared.

A message is taken for one that came back only if the server says that it had been delivered before (after a crash it
says so of all). Two messages with the same id and the same content can't be told apart otherwise: of those that were
in a queue when its server crashed, one may be taken for the other.

Source: rabbit_channel.erl (tx.commit), rabbit_queue_index.erl (acknowledgements are gathered in a journal of at most
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

#: More than the server's journal holds. What comes back is at the head of its queue, so no more are looked at.
MOST = 50_000
_FORGET_ALIVE_MS = 24 * 3600 * 1000
#: So many messages are looked at between two signs of life.
_HEARTBEAT_EVERY = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """What one transaction takes from a queue and publishes, by fingerprints."""

    taken: tuple[bytes, ...]
    #: Queue, copy, and the position among those taken of what it was made from.
    sent: tuple[tuple[str, bytes, int], ...]


class Log(Protocol):
    """Where windows are written down."""

    def begin(self, queue: str, transaction: Transaction, *, at_once: bool) -> None:
        """Note what is about to be committed; ``at_once``: it must outlast the machine."""

    def commit(self, queue: str) -> None:
        """Note that what was noted last for a queue is committed."""


@dataclass(slots=True, kw_only=True)
class DedupWindow:
    """What one queue gave lately."""

    queue: str
    log: Log | None = None
    _order: deque[bytes] = field(default_factory=deque)
    #: How often each was given.
    _known: dict[bytes, int] = field(default_factory=dict)
    #: Queue, copy and the delivery that it was made from, of the transaction that is being put together.
    _sent: list[tuple[str, bytes, int]] = field(default_factory=list)
    #: The last transaction, until it is known to be through.
    pending: Transaction | None = None
    #: Messages that came back, and were not carried again.
    returned: int = 0

    def sent(self, queue: str, copy: Any, origin: Any) -> None:
        """Note what a transaction will publish, and from which message it was made."""
        self._sent.append((queue, fingerprint(copy), origin.delivery_tag))

    def begin(self, taken: list[Any], windows: Mapping[str, DedupWindow]) -> None:
        """A transaction is about to be committed.

        Args:
            taken: Its messages.
            windows: Of all queues of the server.
        """
        address = {message.delivery_tag: index for index, message in enumerate(taken)}
        self._begin(
            Transaction(
                taken=tuple(map(fingerprint, taken)),
                sent=tuple((queue, copy, address[tag]) for queue, copy, tag in self._sent),
            ),
            windows,
        )
        self._sent.clear()

    def _begin(self, transaction: Transaction, windows: Mapping[str, DedupWindow]) -> None:
        self.pending = transaction if transaction.taken else None
        if self.log is not None and self.pending:
            again = any(queue in windows and windows[queue].knows(copy) for queue, copy, _ in transaction.sent)
            self.log.begin(self.queue, transaction, at_once=again)

    def committed(self, windows: Mapping[str, DedupWindow]) -> None:
        """The transaction is through: remember its messages; what it put into one of the queues belongs there."""
        if self.pending is not None:
            self.apply(self.pending, windows)
            self.pending = None
            if self.log is not None:
                self.log.commit(self.queue)

    def apply(self, transaction: Transaction, windows: Mapping[str, DedupWindow]) -> None:
        """Remember what a transaction did."""
        for queue, copy, _ in transaction.sent:
            if queue in windows:
                windows[queue].forget(copy)
        for key in transaction.taken:
            self.remember(key)

    def abandon(self) -> None:
        """The connection was lost: what was put together and not committed will come again."""
        self._sent.clear()

    def resolve_in_doubt(self, connection: Any, windows: Mapping[str, DedupWindow]) -> None:
        """The server was restarted: find out what of the last transaction is there."""
        transaction, self.pending = self.pending, None
        if transaction is None:
            return
        there = {
            queue: _find(connection, queue, Counter(copy for to, copy, _ in transaction.sent if to == queue))
            for queue in {queue for queue, _, _ in transaction.sent}
        }
        done = []
        for queue, copy, index in transaction.sent:
            if there[queue][copy] > 0:
                there[queue][copy] -= 1
                done.append((queue, copy, index))
        taken = tuple(transaction.taken[index] for _, _, index in done)
        sent = tuple((queue, copy, number) for number, (queue, copy, _) in enumerate(done))
        self._begin(Transaction(taken=taken, sent=sent), windows)
        self.committed(windows)

    def ack_redelivered(self, connection: Any) -> None:
        """The server was restarted: acknowledge what has come back, and leave the rest where it is."""
        due = dict(self._known)
        if not due:
            return
        with closing(_head(connection, self.queue)) as messages:
            for message in messages:
                key = fingerprint(message)
                if message.delivery_info["redelivered"] and due.get(key, 0) > 0:
                    # Once: a second one with the same content is another message.
                    due[key] -= 1
                    message.channel.basic_ack(message.delivery_tag)
                    self.returned += 1

    def knows(self, key: bytes) -> bool:
        """Say whether such a message was taken and has not been put here again since."""
        return key in self._known

    def remember(self, key: bytes) -> None:
        """Such a message was taken."""
        if len(self._order) >= MOST:
            self.forget(self._order.popleft())
        self._order.append(key)
        self._known[key] = self._known.get(key, 0) + 1

    def forget(self, key: bytes) -> None:
        """Such a message was put (back) into this queue: it is a new one."""
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
        self._sent.clear()
        self.pending = None


def fingerprint(message: Any) -> bytes:
    """Return what tells a message from any other: its body, and the ids that are not in it."""
    headers, properties = message.headers or {}, message.properties
    ids = (properties.get("correlation_id"), properties.get("message_id"))
    marks = (headers.get("id"), headers.get("retries"), headers.get(ID), *ids)
    return blake2b(body_of(message) + repr(marks).encode(), digest_size=16).digest()


def was_restarted(connection: Any) -> bool:
    """Say whether the server was restarted since :func:`note_alive`; so it was if that has never been called."""
    channel = connection.channel()
    with suppress(amqp.exceptions.NotFound):
        channel.queue_declare(queue=ALIVE, passive=True)
        channel.close()
        return False
    return True


def note_alive(connection: Any) -> None:
    """Leave a mark that goes with a restart of the server, and by itself after a day."""
    channel = connection.channel()
    # Servers may forbid such queues; then each lost connection counts as a restart.
    with suppress(amqp.exceptions.ChannelError):
        channel.queue_declare(queue=ALIVE, durable=False, auto_delete=False, arguments={"x-expires": _FORGET_ALIVE_MS})
        channel.close()


def _find(connection: Any, queue: str, wanted: Counter[bytes]) -> Counter[bytes]:
    """Return which messages lie in a queue, of those that are looked for."""
    found: Counter[bytes] = Counter()
    with closing(browse(connection, queue)) as messages:
        for number, message in enumerate(messages, 1):
            key = fingerprint(message)
            if found[key] < wanted[key]:
                found[key] += 1
            _stay(connection, number)
    return found


def _head(connection: Any, queue: str) -> Generator[Any, None, None]:
    with closing(browse(connection, queue)) as messages:
        for number, message in enumerate(messages, 1):
            yield message
            _stay(connection, number)
            if number >= MOST:
                return


def _stay(connection: Any, number: int) -> None:
    if number % _HEARTBEAT_EVERY == 0:
        connection.send_heartbeat()
