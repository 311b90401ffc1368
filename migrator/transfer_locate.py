"""Where is this message? Looked up by id in every queue of the plan, in the ledgers on the servers, and in the book."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from migrator.brokers import connect
from migrator.brokers.celery_redis import CeleryRedis
from migrator.brokers.dramatiq_redis import DramatiqRedis
from migrator.brokers.protocol import Broker
from migrator.brokers.redis_keys import LEDGER, sources
from migrator.ledger import Book, Entry
from migrator.message import Message, State, System
from migrator.plan import Endpoint, Plan, Side
from migrator.translation import ledger_entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One copy of a message in a queue."""

    side: Side
    system: System
    queue: str
    state: State
    task: str
    copy_id: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What the ledger of a server says about one copy: it has arrived there from another server."""

    #: The server, without its password.
    where: str
    #: The queue that it came from, such as ``dramatiq:default``.
    place: str
    #: When the run that carried it began, in seconds since the epoch.
    run_at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """All that is known about a message id."""

    id: str
    #: Every copy that lies in a queue now; more than one may be legal (a retry beside the original).
    sightings: tuple[Sighting, ...]
    #: What the book says, oldest first; plain messages are only counted there.
    entries: tuple[Entry, ...]
    #: What the ledgers say; they go by the ids of the copies, and only know what came from another server.
    arrivals: tuple[Arrival, ...] = ()


def locate(plan: Plan, *, environ: Mapping[str, str], identity: str) -> Whereabouts:
    """Look for a message in every place where one can be; nothing is taken or changed.

    Args:
        plan: The plan.
        environ: Fills the references in the plan's URLs.
        identity: Message id, task id, or the id of one copy.

    Raises:
        UnreachableError: A server does not answer.
    """
    sightings: list[Sighting] = []
    arrivals: dict[tuple[str, str], Arrival] = {}
    for endpoint in (*plan.legacy, plan.unified):
        broker = connect(endpoint, environ)
        try:
            sightings += [
                _sighting(endpoint, message) for message in broker.scan() if identity in (message.id, message.copy_id)
            ]
            arrivals.update({(found.where, found.place): found for found in _arrivals(plan, broker, identity)})
        finally:
            broker.close()
    file = plan.state_folder / "book.sqlite3"
    entries: tuple[Entry, ...] = ()
    if file.exists():
        with Book.open(file) as book:
            entries = book.find(identity)
    return Whereabouts(
        id=identity,
        sightings=tuple(sightings),
        entries=entries,
        arrivals=tuple(arrivals[key] for key in sorted(arrivals)),
    )


def _sighting(endpoint: Endpoint, message: Message) -> Sighting:
    return Sighting(
        side=endpoint.side,
        system=endpoint.system,
        queue=message.queue,
        state=message.state,
        task=message.task,
        copy_id=message.copy_id,
        attempts=message.attempts,
    )


def _arrivals(plan: Plan, broker: Broker, copy_id: str) -> Iterator[Arrival]:
    """Yield what the ledger on the server of one broker says about a copy."""
    if not isinstance(broker, DramatiqRedis | CeleryRedis):
        return
    places = dict.fromkeys(source.place for endpoint in (*plan.legacy, plan.unified) for source in sources(endpoint))
    keys = [ledger_entry(place, copy_id).encode(errors="surrogateescape") for place in places]
    with broker.server.translated():
        stamps = broker.server.client.hmget(LEDGER, keys)
    for place, stamp in zip(places, stamps, strict=True):
        if stamp is not None:
            yield Arrival(where=broker.where, place=str(place), run_at_s=float(stamp))
