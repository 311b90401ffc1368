"""One database of a Redis server while messages are transferred: its ledger, its readers, what is put into it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from migrator.brokers.redis.keys import LEDGER, LOCK, sources
from migrator.brokers.redis.server import RedisServer
from migrator.plan.model import Endpoint
from migrator.report import Finding
from migrator.transfer.batch import Group
from migrator.transfer.ports import Peers
from migrator.transfer.redis.link import RedisLink
from migrator.transfer.redis.reader import RedisReader
from migrator.transfer.redis.requests import note_request, push_request
from migrator.transfer.redis.restore import RedisBroker, reclaim, restore_quarantined
from migrator.wire.message import Side, System


class RedisHome(RedisLink):
    """One database; several endpoints may be in it."""

    delivers = False

    def __init__(self, server: RedisServer, identity: str, peers: Peers) -> None:
        super().__init__(server, identity, peers)
        self.brokers: dict[tuple[Side, System], RedisBroker] = {}
        self._stamp = f"{int(time.time())}"

    def begin(self) -> None:
        """Do nothing: what earlier runs have left is in the claims."""

    def forget(self) -> None:
        """Do nothing: the claims and the ledger are replaced with the messages."""

    def arrived(self, entries: list[str]) -> set[str]:
        """Return which of these ledger entries are here."""
        if not entries:
            return set()
        hits: Any = self.client.hmget(LEDGER, [entry.encode(errors="surrogateescape") for entry in entries])
        return {entry for entry, hit in zip(entries, hits, strict=True) if hit is not None}

    def readers(self, endpoint: Endpoint) -> tuple[RedisReader, ...]:
        """Return a reader of every list of an endpoint."""
        return tuple(RedisReader(self, endpoint, queue) for queue in sources(endpoint))

    def push(self, groups: dict[str, Group], *, is_new: bool) -> Callable[[], int]:
        """Begin to push messages with their ledger entries; the outcome is how many had arrived before."""
        request = note_request(groups, token=self.token, stamp=self._stamp) if is_new else None
        pipeline = self.pipeline
        if request is not None:
            pushes, keys, arguments = request
            pending = pipeline.transact(pushes, "note", [LOCK, *keys], arguments)
        else:
            keys, arguments = push_request(groups, token=self.token, stamp=self._stamp)
            pending = pipeline.send("push", [LOCK, *keys], arguments)
        return lambda: len(pipeline.result(pending))

    def deliver(self) -> None:
        """Do nothing: what is pushed is in its queue."""

    def restore_quarantined(self, endpoint: Endpoint) -> int:
        """Put quarantined messages back into the queues that they came from; return how many."""
        broker = self.brokers[endpoint.side, endpoint.system]
        return restore_quarantined(broker, self.token, keep_locks=self.peers.keep_locks)

    def reclaim(self, endpoint: Endpoint, queues: set[str], *, silence_s: float) -> int:
        """Return messages that stopped workers had claimed to their queues; return how many."""
        return reclaim(self.brokers[endpoint.side, endpoint.system], queues, self.token, silence_s=silence_s)

    def tidy(self) -> None:
        """Do nothing: empty keys do not exist."""

    def findings(self, reconnects: int) -> Iterator[Finding]:
        """Yield nothing: the broker's facts say it all."""
        yield from ()
