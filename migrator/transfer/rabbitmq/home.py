"""One RabbitMQ while messages are transferred: its lock, its deduplication, and what arrives from other servers.

Anything from another server: a batch is published to ``tqm.arriving.…`` with ids, then deleted at its source, then
moved to its queues by a transaction. At most one batch is in ``tqm.arriving.…``; a run that finds messages there
compares their ids with what is left at the source, and publishes only the others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

from migrator.brokers.rabbitmq.queues import ALIVE, arriving_queue, delete_if_empty, rabbit_queues
from migrator.brokers.rabbitmq.server import count
from migrator.brokers.rabbitmq.staging_headers import ID, TO, own_header, private_copy, public_copy
from migrator.errors import RefusedError
from migrator.plan.model import Endpoint
from migrator.report import Finding, Severity
from migrator.transfer.batch import Group
from migrator.transfer.rabbitmq.link import RabbitLink
from migrator.transfer.rabbitmq.reader import RabbitReader
from migrator.transfer.rabbitmq.session import PAGE

#: A server writes acknowledgements when a queue has been idle for a moment: killed 0.3 s after the last one, it
#: redelivered all 1500 messages; after 0.4 s, none (3.10). The run does not end before that.
WRITTEN_AFTER_S = 1.0


class RabbitHome(RabbitLink):
    """One virtual host; several endpoints may be in it."""

    delivers = True

    def arrived(self, entries: list[str]) -> set[str]:
        """Return which of these had arrived when this connection was made."""
        return self._arrived.intersection(entries)

    def readers(self, endpoint: Endpoint) -> tuple[RabbitReader, ...]:
        """Return a reader of every queue of an endpoint."""
        others = self._plan.legacy if endpoint is self._plan.unified else (self._plan.unified,)
        stays_home = all(other in self._endpoints for other in others)
        return tuple(RabbitReader(self, queue, stays_home=stays_home) for queue in rabbit_queues(endpoint))

    def push(self, groups: dict[str, Group], *, is_new: bool) -> Callable[[], int]:
        """Publish messages to the queues of what arrives, with their ledger entries as ids."""
        session, self._pushed = self.session, {}
        for group in groups.values():
            queue = session.own(arriving_queue(self._endpoint(group)))
            destination = session.destination(group.address)
            consumer = session.consumer(queue)
            for message, entry in zip(group.messages, group.entries, strict=True):
                headers = {ID: entry.decode("utf-8", "surrogateescape"), TO: destination}
                consumer.publish(private_copy(message, headers), queue)
            self._pushed[queue] = self._pushed.get(queue, 0) + len(group.messages)
        for queue in self._pushed:
            session.consumer(queue).commit([], wait=False)

        def pushed() -> int:
            for queue in self._pushed:
                session.finish(queue)
            return 0

        return pushed

    def _endpoint(self, group: Group) -> Endpoint:
        key = (group.address.side, group.address.system)
        return next(endpoint for endpoint in self._endpoints if (endpoint.side, endpoint.system) == key)

    def deliver(self) -> None:
        """Move what was pushed last to its queues, or all that has arrived."""
        pushed, self._pushed = self._pushed, {}
        for queue, number in pushed.items():
            self._drain(queue, number)
        if not pushed:
            for queue in map(arriving_queue, self._endpoints):
                if count(self.session.connection, queue) is not None:
                    self._drain(queue, 0)

    def _drain(self, queue: str, expected: int) -> None:
        consumer, left = self.session.consumer(queue), expected or math.inf
        while left and (batch := consumer.take(int(min(left, PAGE)), expected=int(min(expected, PAGE, left)))):
            for message in batch:
                consumer.publish(public_copy(message), own_header(message, TO), origin=message)
            consumer.commit(batch, wait=not expected)
            left -= len(batch)
            self.peers.keep_locks()

    def restore_quarantined(self, endpoint: Endpoint) -> int:
        """Put quarantined messages back into the queues that they came from; return how many."""
        return sum(self.move_back(queue, queue.quarantined) for queue in rabbit_queues(endpoint))

    def reclaim(self, endpoint: Endpoint, queues: set[str], *, silence_s: float) -> int:
        """Wait until nobody consumes the queues: the server requeues what stopped workers held."""
        deadline = time.monotonic() + max(silence_s, 2.0)
        for at in rabbit_queues(endpoint):
            while at.address.queue in queues:
                counted = count(self.session.connection, at.queue)
                if counted is None or not counted.consumers:
                    break
                if time.monotonic() > deadline:
                    raise RefusedError(
                        f"{self.where} {at.queue}",
                        "a worker is still alive and consumes messages",
                        found=f"{counted.consumers} consumers",
                        remedy="stop the old workers, then run again",
                    )
                time.sleep(0.1)
        return 0

    def tidy(self) -> None:
        """Delete our queues that are empty, once the server has had time to write the acknowledgements."""
        log, session = self._dedup_log(), self.session
        time.sleep(max(0.0, log.committed_at + WRITTEN_AFTER_S - time.monotonic()))
        own = [name for at in self._queues() for name in (at.moving, at.filtered_out, at.quarantined)]
        for queue in (*own, *map(arriving_queue, self._endpoints)):
            session.close_consumer(queue)
            delete_if_empty(session.connection, queue)
        log.end(session.connection)
        delete_if_empty(session.connection, ALIVE)

    def findings(self, reconnects: int) -> Iterator[Finding]:
        """Yield what is worth knowing about this run on this server."""
        created = self._created.union(self._session.created if self._session else ())
        if created:
            yield Finding(
                code="TRANSFER-QUEUE-MADE",
                severity=Severity.WARNING,
                where=", ".join(sorted(created)),
                what="the queue was missing and was declared: a unified one as its app does, others as systems do",
                found=f"{len(created)} queues",
                remedy="if workers are refused with 406, their declaration is another one: transfer the messages to "
                "where they were, delete the queue, and let the workers declare it",
            )
        returned = sum(window.returned for window in self._log.windows.values()) if self._log else 0
        again = f"a broker redelivered {returned} messages that had been moved; they were recognised"
        if reconnects:
            yield Finding(
                code="TRANSFER-RECONNECTED",
                severity=Severity.WARNING,
                where=self.where,
                what="connections were lost; " + (again if returned else "no message that had been moved came again"),
                found=f"{reconnects} times",
                remedy="if a broker crashed, compare the ids on both sides before workers are started",
            )
        elif returned:
            yield Finding(
                code="TRANSFER-RETURNED",
                severity=Severity.INFO,
                where=self.where,
                what="a broker redelivered messages that an interrupted run had moved; they were recognised",
                found=f"{returned} messages",
            )
        yield from self._log.findings if self._log else ()
