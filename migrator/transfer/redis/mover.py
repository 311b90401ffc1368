"""Empty one list: claim, translate, push, apply, with the server and the translation at work at the same time.

While a batch is translated here, the server carries out the one before and claims the one after. The claim on the
server is the truth: after any doubt (lost connection, lost answer) everything in memory is dropped and the claim is
read again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from migrator.brokers.redis.keys import LEDGER, LOCK, Source
from migrator.brokers.redis.pipeline import Lane, Ticket
from migrator.transfer.batch import (
    Batch,
    Group,
    Item,
    Work,
    apply_request,
    item_copy,
    note_request,
    prepare,
    push_request,
)
from migrator.transfer.connections import Hub
from migrator.transfer.lock import LIFE_MS
from migrator.transfer.throttle import Pace
from migrator.translation.result import Translation, Translator, ledger_entry

#: A batch ends before this many bytes, or 25 messages later.
BATCH_BYTES = 4 << 20


@dataclass(slots=True, kw_only=True)
class Flight:
    """A batch under way: pushed, applied, not yet settled."""

    work: Work
    pushes: list[tuple[Lane, Ticket]] = field(default_factory=list)
    applied: Ticket | None = None


@dataclass(slots=True, kw_only=True)
class Mover:
    """Empties lists by one translation."""

    hub: Hub
    token: str
    stamp: str
    selects: Callable[[Translation], bool]
    #: Called with every batch that has been carried out.
    settled: Callable[[Work], None]
    #: Called before a batch is taken; a true answer ends the list.
    should_stop: Callable[[], bool]
    pace: Pace
    #: Batches under way; what is left here after an error is looked for in the claim.
    flights: deque[Flight] = field(default_factory=deque)
    _claimed: int = 0
    #: Something went wrong before: messages may have reached another server already.
    _is_careful: bool = False

    def empty(self, source: Source, translate: Translator, *, limit: int | None = None) -> None:
        """Move what an interrupted run had claimed, then what the list holds, until it is seen empty.

        Args:
            source: The list.
            translate: The translation of its messages.
            limit: At most about so many from the list; None for all.

        Raises:
            redis.RedisError: The connection or a script failed; call :meth:`recover`, then this again.
        """
        lane = self.hub.lane(self.hub.identity(source.place))
        batches = self._leftovers(lane, source)
        self._claimed = sum(len(batch.items) for batch in batches)
        left, ticket = limit, None
        while True:
            if ticket is None and len(batches) < 2 and (left is None or left > 0):
                ticket = None if self.should_stop() else self._claim(lane, source)
            if not batches:
                if ticket is None:
                    break
                batches += self._claimed_batch(lane, source, ticket)
                ticket = None
                if not batches:
                    break
                left = None if left is None else left - len(batches[-1].items)
                continue
            work = prepare(self.hub, batches.popleft(), translate, self.selects)
            if ticket is not None:
                # The server had the time of the translation for this answer.
                more = self._claimed_batch(lane, source, ticket)
                ticket = None
                left = 0 if not more else None if left is None else left - len(more[0].items)
                batches += more
            self._finish_pushes(lane)
            self._launch(lane, work)
            self._settle(lane, keep=2 if self.flights[-1].pushes else 1)
        self._finish_pushes(lane)
        self._settle(lane, keep=0)

    def recover(self) -> None:
        """After an error: find out which batches under way were carried out, and count those."""
        self._is_careful = True
        self.hub.drop_lanes()
        while self.flights:
            work = self.flights[0].work
            source = work.batch.source
            client = self.hub.servers[self.hub.identity(source.place)].client
            head = client.lindex(source.claim, 0)
            first = work.batch.items[0]
            if self.flights[0].applied is None or head == (first[0] if source.bodies else first[1]):
                break
            self.settled(work)
            self.flights.popleft()
        self.flights.clear()

    def _leftovers(self, lane: Lane, source: Source) -> deque[Batch]:
        client = lane.server.client
        entries = client.lrange(source.claim, 0, -1)
        batches: deque[Batch] = deque()
        for start in range(0, len(entries), 200):
            part = entries[start : start + 200]
            bodies = client.hmget(source.bodies, part) if source.bodies else part
            items: list[Item] = list(zip(part if source.bodies else [b""] * len(part), bodies, strict=True))
            batches.append(Batch(source=source, items=items, resumed=True, arrived=self._arrived(source, items)))
        return batches

    def _arrived(self, source: Source, items: list[Item]) -> frozenset[str]:
        """Return the ledger entries of messages that an interrupted run had pushed to another server."""
        keys = [ledger_entry(source.place, item_copy(source, item)) for item in items]
        found: set[str] = set()
        for identity, server in self.hub.servers.items():
            if identity != self.hub.identity(source.place) and keys:
                hits: Any = server.client.hmget(LEDGER, [key.encode(errors="surrogateescape") for key in keys])
                found.update(key for key, hit in zip(keys, hits, strict=True) if hit is not None)
        return frozenset(found)

    def _claim(self, lane: Lane, source: Source) -> Ticket:
        arguments = [self.token, LIFE_MS, self.pace.size, BATCH_BYTES]
        if source.bodies:
            return lane.send("claim_ids", [LOCK, source.list, source.bodies, source.claim], arguments)
        return lane.send("claim_list", [LOCK, source.list, source.claim], arguments)

    def _claimed_batch(self, lane: Lane, source: Source, ticket: Ticket) -> list[Batch]:
        answer = lane.result(ticket)
        items: list[Item]
        if source.bodies:
            ids, bodies = answer
            items = list(zip(ids, bodies, strict=True))
        else:
            items = [(b"", raw) for raw in answer]
        self._claimed += len(items)
        return [Batch(source=source, items=items)] if items else []

    def _launch(self, lane: Lane, work: Work) -> None:
        """Send a batch on its way: first to other servers, else at once to its own."""
        flight = Flight(work=work)
        home = self.hub.identity(work.batch.source.place)
        for identity, groups in work.groups.items():
            if identity == home:
                continue
            other = self.hub.lane(identity)
            flight.pushes.append((other, self._push(other, groups, is_new=not work.batch.resumed)))
        self.flights.append(flight)
        if not flight.pushes:
            self._apply(lane, flight)

    def _push(self, other: Lane, groups: dict[str, Group], *, is_new: bool) -> Ticket:
        request = note_request(groups, token=self.token, life_ms=LIFE_MS, stamp=self.stamp)
        if request is not None and is_new and not self._is_careful:
            pushes, keys, arguments = request
            return other.transact(pushes, "note", [LOCK, *keys], arguments)
        keys, arguments = push_request(groups, token=self.token, life_ms=LIFE_MS, stamp=self.stamp)
        return other.send("push", [LOCK, *keys], arguments)

    def _finish_pushes(self, lane: Lane) -> None:
        for flight in self.flights:
            if flight.applied is None:
                for other, ticket in flight.pushes:
                    flight.work.refused += len(other.result(ticket))
                self._apply(lane, flight)

    def _apply(self, lane: Lane, flight: Flight) -> None:
        pushes, keys, arguments = apply_request(
            self.hub, flight.work, claimed=self._claimed, token=self.token, life_ms=LIFE_MS
        )
        flight.applied = lane.transact(pushes, "apply", [LOCK, *keys], arguments)
        self._claimed -= len(flight.work.batch.items)

    def _settle(self, lane: Lane, *, keep: int) -> None:
        """Wait for the oldest batches until at most ``keep`` are under way."""
        while len(self.flights) > keep:
            flight = self.flights[0]
            if flight.applied is None:
                return
            lane.result(flight.applied)
            self.pace.step(self.hub.lanes.values())
            self.hub.prolong(self.token)
            self.settled(flight.work)
            self.flights.popleft()


def claim_entries(hub: Hub, source: Source) -> int:
    """Return how many entries an interrupted run has left in the claim of a list."""
    length: Any = hub.servers[hub.identity(source.place)].client.llen(source.claim)
    return int(length)
