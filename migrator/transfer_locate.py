"""Where is this message? Looked up by id in every queue of the plan, and in the book."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from migrator.brokers import connect
from migrator.ledger import Book, Entry
from migrator.message import State, System
from migrator.plan import Plan, Side


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
class Whereabouts:
    """All that is known about a message id."""

    id: str
    #: Every copy that lies in a queue now; more than one may be legal (a retry beside the original).
    sightings: tuple[Sighting, ...]
    #: What the book says, oldest first; plain messages are only counted there.
    entries: tuple[Entry, ...]


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
    for endpoint in (*plan.legacy, plan.unified):
        broker = connect(endpoint, environ)
        try:
            sightings += [
                Sighting(
                    side=endpoint.side,
                    system=endpoint.system,
                    queue=message.queue,
                    state=message.state,
                    task=message.task,
                    copy_id=message.copy_id,
                    attempts=message.attempts,
                )
                for message in broker.scan()
                if identity in (message.id, message.copy_id)
            ]
        finally:
            broker.close()
    file = plan.state_folder / "book.sqlite3"
    entries: tuple[Entry, ...] = ()
    if file.exists():
        with Book.open(file) as book:
            entries = book.find(identity)
    return Whereabouts(id=identity, sightings=tuple(sightings), entries=entries)
