"""Find a message by id in every queue of the plan, in the servers' ledgers, in the book and in the snapshots.

A call may have no message of its own yet: a step of a pipeline or chain, a callback or the body of a chord is part of
another message. ``chain(…).apply_async()`` returns the id of the last step, so messages are searched for ids, too.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from migrator.brokers.connect import connect
from migrator.brokers.decode import read_message
from migrator.brokers.protocol import Broker
from migrator.brokers.redis.celery import CeleryRedis
from migrator.brokers.redis.dramatiq import DramatiqRedis
from migrator.brokers.redis.keys import LEDGER, sources
from migrator.errors import UsageError
from migrator.plan.model import Endpoint, Plan
from migrator.state.snapshot_file import decoded as decoded_item
from migrator.state.snapshot_file import records
from migrator.transfer.ledger import Ledger, LedgerRow
from migrator.translation.custom_encoder import load_encoder
from migrator.translation.result import ledger_entry
from migrator.wire.json_codec import HEADER, READING_ERRORS, UnreadableError, text_of
from migrator.wire.kombu_envelope import body_bytes, read_envelope
from migrator.wire.message import Message, Side, State, System

#: Older snapshots are not read; each takes about two seconds for 100,000 messages.
_MOST_SNAPSHOTS = 5
#: A shorter id could occur in base64 by coincidence.
_SHORTEST = 8


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
    #: Id of the message that was found, where it only mentions the id that was looked for.
    id: str = ""
    #: Neither a list nor a worker names it, so nothing will run it.
    orphaned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An entry in a server's ledger: this copy has arrived there from another server."""

    #: The server, without its password.
    where: str
    #: The queue that it came from, such as ``dramatiq:default``.
    address: str
    #: When the run that moved it began, in seconds since the epoch.
    run_at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """All that is known about a message id."""

    id: str
    #: Every copy that is in a queue now; more than one may be legal (a retry beside the original).
    sightings: tuple[Sighting, ...]
    #: What the book says, oldest first; ordinary messages are only counted there.
    entries: tuple[LedgerRow, ...]
    #: What the ledgers say; they are keyed by copy id, and only know what came from another server.
    arrivals: tuple[Arrival, ...] = ()
    #: Messages in queues that mention the id: as a step or callback not sent yet, as root, parent or argument.
    named_by: tuple[Sighting, ...] = ()
    #: For an id that is in no queue: the last snapshots in which it was, newest first.
    recorded: tuple[Recorded, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A snapshot that holds a message with the id, or one that mentions it."""

    file: str
    #: When it was written, as ISO text.
    created_at: str
    #: Endpoint and key, such as ``legacy.celery celery``.
    address: str


class _MarkedMessage(msgspec.Struct):
    headers: dict[str, msgspec.Raw]


def locate(plan: Plan, *, environ: Mapping[str, str], identity: str) -> Whereabouts:
    """Look for a message wherever one can be; nothing is taken or changed.

    Args:
        plan: The plan.
        environ: Fills the references in the plan's URLs.
        identity: Message id, task id, or the id of one copy.

    Raises:
        UnreachableError: A server does not answer.
    """
    sightings: list[Sighting] = []
    named_by: list[Sighting] = []
    arrivals: dict[tuple[str, str], Arrival] = {}
    for endpoint in (*plan.legacy, plan.unified):
        encoder = load_encoder(plan, endpoint)
        broker = connect(endpoint, environ)
        try:
            for message, orphaned in _messages(broker):
                seen = _identified(message, encoder)
                if identity in (seen.id, seen.copy_id, _origin(seen)):
                    sightings.append(_sighting(endpoint, seen, orphaned=orphaned))
                elif _mentions(seen, identity):
                    named_by.append(_sighting(endpoint, seen, orphaned=orphaned))
            arrivals.update({(found.where, found.address): found for found in _arrivals(plan, broker, identity)})
        finally:
            broker.close()
    file = plan.state_folder / "book.sqlite3"
    entries: tuple[LedgerRow, ...] = ()
    if file.exists():
        with Ledger.open(file) as book:
            entries = book.find(identity)
    return Whereabouts(
        id=identity,
        sightings=tuple(sightings),
        entries=entries,
        arrivals=tuple(arrivals[key] for key in sorted(arrivals)),
        named_by=tuple(named_by),
        recorded=() if sightings else tuple(_recorded(plan, identity)),
    )


def _recorded(plan: Plan, identity: str) -> Iterator[Recorded]:
    """Yield the latest snapshots that hold the id; a damaged one is skipped."""
    wanted = _encodings(identity.encode(errors="surrogateescape"))
    files = sorted((plan.state_folder / "snapshots").glob("*.snapshot"), key=lambda file: -file.stat().st_mtime)
    for file in files[:_MOST_SNAPSHOTS]:
        with suppress(UsageError):
            address, created_at = _in_snapshot(file, wanted)
            if address:
                yield Recorded(file=str(file), created_at=created_at, address=address)


def _in_snapshot(file: Path, wanted: list[bytes]) -> tuple[str, str]:
    created_at = ""
    for record in records(file):
        created_at = created_at or record["created_at"]
        if record.get("counts") and any(
            encoding in part for item in record["items"] for part in decoded_item(item) for encoding in wanted
        ):
            return f"{record['endpoint']} {record['key']}", created_at
    return "", created_at


def _encodings(wanted: bytes) -> list[bytes]:
    """Return an id as it is, and as it appears inside base64 text: Celery's bodies, and everything from RabbitMQ."""
    if len(wanted) < _SHORTEST:
        return [wanted]
    # Three bytes are four characters; those that share bits with the bytes before or after the id are left out.
    return [
        wanted,
        *(b64encode(bytes(skip) + wanted)[skip and skip + 1 : (skip + len(wanted)) * 8 // 6] for skip in range(3)),
    ]


def _messages(broker: Broker) -> Iterator[tuple[Message, bool]]:
    """Yield every message, and whether it is an orphan, of which only the body is there."""
    for message in broker.scan():
        yield message, False
    if isinstance(broker, DramatiqRedis):
        for address, copy_id, raw in broker.orphans():
            yield read_message(address, copy_id, raw, State.READY), True


def _identified(message: Message, encoder: Any) -> Message:
    """Return a message with name and id as the project's own encoder reads them."""
    if encoder is None or message.id:
        return message
    try:
        document = encoder.decode(message.raw)
        return replace(message, id=str(document["message_id"]), task=str(document["actor_name"]))
    except (UnreadableError, KeyError):
        return message


def _origin(message: Message) -> str:
    """Return the id of the copy that a moved message was made from; empty for any other message."""
    if HEADER.encode() not in message.raw:
        return ""
    try:
        mark = msgspec.json.decode(message.raw, type=_MarkedMessage).headers.get(HEADER, msgspec.Raw(b"{}"))
        return str(msgspec.json.decode(mark, type=dict[str, Any]).get("id", ""))
    except (msgspec.MsgspecError, RecursionError):
        return ""


def _mentions(message: Message, identity: str) -> bool:
    """Say whether a message contains the id anywhere."""
    wanted = identity.encode(errors="surrogateescape")
    if wanted in message.raw or message.system is not System.CELERY:
        return wanted in message.raw
    try:
        return wanted in body_bytes(read_envelope(message.raw, text_of(message.raw)))
    except READING_ERRORS:
        return False


def _sighting(endpoint: Endpoint, message: Message, *, orphaned: bool) -> Sighting:
    return Sighting(
        side=endpoint.side,
        system=endpoint.system,
        queue=message.queue,
        state=message.state,
        task=message.task,
        copy_id=message.copy_id,
        attempts=message.attempts,
        id=message.id,
        orphaned=orphaned,
    )


def _arrivals(plan: Plan, broker: Broker, copy_id: str) -> Iterator[Arrival]:
    """Yield what the ledger on the server of one broker says about a copy."""
    if not isinstance(broker, DramatiqRedis | CeleryRedis):
        return
    addresses = dict.fromkeys(
        redis_queue.address for endpoint in (*plan.legacy, plan.unified) for redis_queue in sources(endpoint)
    )
    keys = [ledger_entry(address, copy_id).encode(errors="surrogateescape") for address in addresses]
    with broker.server.translated():
        stamps = broker.server.client.hmget(LEDGER, keys)
    for address, stamp in zip(addresses, stamps, strict=True):
        if stamp is not None:
            yield Arrival(where=broker.where, address=str(address), run_at_s=float(stamp))
