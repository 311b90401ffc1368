"""Take messages from one Redis queue: claimed, and deleted from the claim, by scripts that are sent without waiting.

The claim on the server is authoritative: after any doubt (lost connection, lost answer) everything in memory is
dropped and the claim is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from migrator.brokers.redis.keys import LOCK, RedisQueue, quarantine_key
from migrator.plan.model import Endpoint
from migrator.transfer.batch import Batch, Item, Work, ledger_entries
from migrator.transfer.lock import LIFE_MS
from migrator.transfer.ports import BATCH_BYTES
from migrator.transfer.redis.link import RedisLink
from migrator.transfer.redis.requests import apply_request

_PAGE = 200


class RedisReader:
    """Takes messages from one list, of ids (Dramatiq) or of messages (Celery).

    Args:
        home: The server.
        endpoint: The endpoint of the plan.
        queue: The list and our keys for it.
    """

    def __init__(self, home: RedisLink, endpoint: Endpoint, queue: RedisQueue) -> None:
        self.address = queue.address
        self.queue = queue
        self._home = home
        self._quarantine = quarantine_key(endpoint)
        #: How many entries the claim holds, when everything in flight is done.
        self._claimed = 0

    def waiting(self) -> int:
        """Return how many messages wait in the queue."""
        return int(self._home.client.llen(self.queue.list))

    def memory(self) -> int:
        """Return roughly how many bytes the messages take on their server; 0 if that is not known."""
        with self._home.server.translated():
            return int(self._home.client.memory_usage(self.queue.bodies or self.queue.list, samples=50) or 0)

    def leftovers(self) -> Iterator[Batch]:
        """Yield what an interrupted run had claimed."""
        self._claimed = int(self._home.client.llen(self.queue.claim))
        while entries := self._home.client.lrange(self.queue.claim, 0, _PAGE - 1):
            bodies = self._home.client.hmget(self.queue.bodies, entries) if self.queue.bodies else entries
            names = entries if self.queue.bodies else [b""] * len(entries)
            batch = self._batch(list(zip(names, bodies, strict=True)), resumed=True)
            batch.arrived = frozenset(self._home.peers.arrived_elsewhere(self._home.identity, ledger_entries(batch)))
            yield batch

    def claim(self, size: int) -> Callable[[], Batch | None]:
        """Begin to claim messages, at most this many; None is the end of the queue."""
        queue, arguments = self.queue, [self._home.token, LIFE_MS, size, BATCH_BYTES]
        keys = [LOCK, queue.list, queue.bodies, queue.claim] if queue.bodies else [LOCK, queue.list, queue.claim]
        pipeline = self._home.pipeline
        pending = pipeline.send("claim_ids" if queue.bodies else "claim_list", keys, arguments)

        def claimed() -> Batch | None:
            answer = pipeline.result(pending)
            items = list(zip(*answer, strict=True)) if queue.bodies else [(b"", raw) for raw in answer]
            self._claimed += len(items)
            return self._batch(items) if items else None

        return claimed

    def apply(self, work: Work) -> Callable[[], None]:
        """Begin to apply a batch."""
        home, pipeline = self._home, self._home.pipeline
        groups = work.groups.get(home.identity, {})
        pushes, keys, arguments = apply_request(
            self.queue, self._quarantine, work, groups, claimed=self._claimed, token=home.token
        )
        pending = pipeline.transact(pushes, "apply", [LOCK, *keys], arguments)
        self._claimed -= len(work.batch.items)
        return lambda: pipeline.result(pending)

    def was_applied(self, work: Work) -> bool:
        """Say whether a batch was applied whose outcome got lost with a connection."""
        identity, raw = work.batch.items[0]
        return bool(self._home.client.lindex(self.queue.claim, 0) != (identity if self.queue.bodies else raw))

    def restore_filtered(self) -> None:
        """Put filtered-out messages back where they were."""
        keys = [LOCK, self.queue.filtered_out, self.queue.list]
        end = "LEFT" if self.queue.bodies else "RIGHT"
        while self._home.client.llen(self.queue.filtered_out):
            self._home.server.run("restore_filtered", keys, [self._home.token, LIFE_MS, 500, end])
            self._home.peers.keep_locks()

    def close(self) -> None:
        """Take nothing more."""

    def _batch(self, items: list[Item], *, resumed: bool = False) -> Batch:
        return Batch(address=self.address, items=items, with_ids=bool(self.queue.bodies), resumed=resumed)
