"""What was taken from a queue on RabbitMQ lately: known again if a crash of the server brings it back.

A transaction's messages are on the server's disk when its commit returns; its acknowledgements are written a moment
later. A server that crashes in between has those messages in both queues afterwards. So the last ones that each queue
gave are remembered, by what is in them, until the run ends. After a restart of the server the messages that wait are
compared with them: one that was carried already is acknowledged and not carried again. Of a transaction whose outcome
is unknown, the copies are looked for in the queues to which they were published.

A restart is told from a lost connection by a queue that is not durable: it does not survive one. Without a restart
nothing comes back, and nothing is compared.

Two messages with the same id and the same content can't be told apart; of those that were in a queue when its server
crashed, one may then be taken for the other.

Source: rabbit_channel.erl (tx.commit), rabbit_queue_index.erl (acknowledgements are gathered in a journal of at most
32,768 entries before they are written).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import amqp

from migrator.brokers.rabbitmq_private import ID
from migrator.brokers.rabbitmq_queues import ALIVE
from migrator.brokers.rabbitmq_reading import look
from migrator.brokers.rabbitmq_server import count
from migrator.brokers.rabbitmq_wire import body_of

#: More than the server's journal holds.
MOST = 50_000
_FORGET_ALIVE_MS = 24 * 3600 * 1000


@dataclass(slots=True, kw_only=True)
class Window:
    """What one queue gave lately."""

    queue: str
    _order: deque[bytes] = field(default_factory=deque)
    _known: set[bytes] = field(default_factory=set)
    #: Queue, copy and what it was made from, of the transaction under way.
    _sent: list[tuple[str, Any, Any]] = field(default_factory=list)
    #: So many of the messages that come next may have come before.
    _suspect: int = 0
    #: Messages that came back, and were not carried again.
    returned: int = 0

    def sent(self, queue: str, copy: Any, origin: Any) -> None:
        """Note what a transaction publishes, and from which message it was made."""
        self._sent.append((queue, copy, origin))

    def committed(self, taken: Iterable[Any], windows: Mapping[str, Window]) -> None:
        """Remember the messages of a transaction that is through.

        Args:
            taken: The messages.
            windows: Of all queues of the server: what was put into one of them by us belongs there.
        """
        for queue, copy, _ in self._sent:
            if queue in windows:
                windows[queue].forget(copy)
        self._sent.clear()
        for message in taken:
            self._remember(fingerprint(message))

    def forget(self, message: Any) -> None:
        """Take a message that was put (back) into this queue for a new one."""
        self._known.discard(fingerprint(message))

    def after_restart(self, connection: Any, windows: Mapping[str, Window]) -> None:
        """The server was restarted: find out what of the last transaction is there, and be suspicious from now on."""
        counted = count(connection, self.queue)
        self._suspect = counted.ready if counted else 0
        sent, self._sent = self._sent, []
        there: dict[str, set[bytes]] = {}
        for queue, copy, origin in sent:
            if queue not in there:
                there[queue] = {fingerprint(message) for message in look(connection, queue)}
            if fingerprint(copy) in there[queue]:
                self._remember(fingerprint(origin))
                if queue in windows:
                    windows[queue].forget(copy)

    def after_reconnect(self) -> None:
        """Only a connection was lost: what came back of the last transaction was not carried."""
        self._sent.clear()

    def fresh(self, taken: list[Any]) -> list[Any]:
        """Return the messages that were not carried before."""
        if not self._suspect or not self._known:
            return taken
        found = []
        for message in taken:
            key = fingerprint(message)
            if self._suspect > 0 and key in self._known:
                # Once: a second one with the same content is another message.
                self._known.discard(key)
                self.returned += 1
            else:
                found.append(message)
            self._suspect -= 1
        self._suspect = max(self._suspect, 0)
        return found

    def _remember(self, key: bytes) -> None:
        if len(self._order) >= MOST:
            self._known.discard(self._order.popleft())
        self._order.append(key)
        self._known.add(key)


def fingerprint(message: Any) -> bytes:
    """Return what tells a message from any other: its body, and the ids that are not in it."""
    headers = message.headers or {}
    marks = (headers.get("id"), headers.get("retries"), headers.get(ID), message.properties.get("correlation_id"))
    return blake2b(body_of(message) + repr(marks).encode(), digest_size=16).digest()


def was_restarted(connection: Any) -> bool:
    """Say whether the server was restarted since the last call on any connection of this run; the first says so too."""
    channel = connection.channel()
    with suppress(amqp.exceptions.NotFound):
        channel.queue_declare(queue=ALIVE, passive=True)
        channel.close()
        return False
    channel = connection.channel()
    try:
        channel.queue_declare(queue=ALIVE, durable=False, auto_delete=False, arguments={"x-expires": _FORGET_ALIVE_MS})
        channel.close()
    except amqp.exceptions.AMQPError:
        # Servers may forbid such queues; then each lost connection counts as a restart.
        return True
    return True
