"""One batch of messages: its translation, and the operations that carry it out.

On the server that holds the claim everything of a batch happens in one script: copies first, then deletions. What
goes to another server is pushed there first, with the ledger as proof (see ``brokers/scripts/push.lua``).
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from migrator.brokers.redis.keys import LEDGER, PARKED, RedisQueue, quarantine_key
from migrator.brokers.redis.pipeline import Push
from migrator.brokers.redis.quarantine import quarantine_entry
from migrator.transfer.connections import Connections
from migrator.translation.result import Translated, Translation, Translator, ledger_entry
from migrator.wire.json_codec import UnreadableError, text_of
from migrator.wire.kombu_envelope import copy_id_of, read_envelope
from migrator.wire.quarantined import Quarantined
from migrator.wire.queue_address import QueueAddress

#: One for ``apply.lua``: command, key, type of the key, arguments.
Operation = tuple[str, str, str, list[Any]]
#: What is pushed, and the keys and arguments of the script that goes with it.
Request = tuple[list[Push], list[Any], list[Any]]
#: One message as it was taken: id of the copy (Dramatiq only) and its bytes, None if the body is gone.
Item = tuple[bytes, bytes | None]


@dataclass(slots=True, kw_only=True)
class Batch:
    """Messages taken from one list, in the order of service."""

    source: RedisQueue
    items: list[Item]
    #: Taken by a run that was interrupted.
    resumed: bool = False
    #: Ledger entries of those that the interrupted run had pushed to another server already.
    arrived: frozenset[str] = frozenset()


@dataclass(slots=True, kw_only=True)
class Group:
    """Messages for one destination, one list for each thing that the scripts take of them."""

    #: ``list`` (Celery), ``hash`` (Dramatiq: list and hash of bodies) or ``zset`` (parked).
    kind: str
    name: str
    bodies: str = ""
    is_remote: bool = False
    translated: list[Translated] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    #: For another server: the entries of its ledger.
    entries: list[bytes] = field(default_factory=list)
    #: Dramatiq's ids; of parked messages the time of their release.
    keys: list[Any] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Work:
    """A translated batch."""

    batch: Batch
    translated: list[Translated] = field(default_factory=list)
    quarantined: list[tuple[str, Quarantined]] = field(default_factory=list)
    filtered_out: int = 0
    #: Of those carried.
    parked: int = 0
    without_body: int = 0
    #: Reached another server in an interrupted run, and would not be sent there now; only taken away here.
    arrived: int = 0
    #: By identity of the server, then by list.
    groups: dict[str, dict[str, Group]] = field(default_factory=dict)
    quarantined_flat: list[bytes] = field(default_factory=list)
    filtered_flat: list[bytes] = field(default_factory=list)
    gone_ids: list[bytes] = field(default_factory=list)
    forget: list[str] = field(default_factory=list)
    #: Ledger entries that other servers refused.
    refused: int = 0


_numbers = (f"{uuid.uuid4().hex[:12]}{number:x}" for number in itertools.count())


def everything(translation: Translation) -> bool:
    """Select every message."""
    return True


def prepare(
    connections: Connections, batch: Batch, translate: Translator, selects: Callable[[Translation], bool]
) -> Work:
    """Translate a batch and sort it by destination."""
    work = Work(batch=batch)
    address, with_ids = batch.source.address, bool(batch.source.bodies)
    items = _with_bodies(batch.items) if with_ids else batch.items
    work.without_body = len(batch.items) - len(items)
    made = [translate(address, identity.decode("utf-8", "surrogateescape"), raw or b"") for identity, raw in items]
    if selects is everything and set(map(type, made)) == {Translated}:
        work.translated = cast(list[Translated], made)
        work.gone_ids = [identity for identity, _ in items] if with_ids else []
    else:
        for item, translation in zip(items, made, strict=True):
            if isinstance(translation, Translated) and selects(translation):
                work.translated.append(translation)
                work.gone_ids += item[:1] if with_ids else ()
            else:
                _leave(work, item, translation, selects)
    _sort(connections, work)
    return work


def _with_bodies(items: list[Item]) -> list[Item]:
    """Return the items that have a body; an id that is listed twice has one."""
    return [item for item in dict(items).items() if item[1] is not None]


def _leave(work: Work, item: Item, translation: Translation, selects: Callable[[Translation], bool]) -> None:
    """Sort in a message that is not carried: kept back, or left out by the filter."""
    source, arrived = work.batch.source, work.batch.arrived
    identity, raw = item[0], item[1] or b""
    if arrived and ledger_entry(source.address, item_copy(source, item)) in arrived:
        # Since it was pushed it has expired, or another filter was given: it is there all the same.
        work.arrived += 1
    elif isinstance(translation, Quarantined) and selects(translation):
        copy_id = identity.decode(errors="surrogateescape")
        work.quarantined.append((copy_id, translation))
        work.quarantined_flat.extend(quarantine_entry(source, copy_id, next(_numbers), translation, raw))
    else:
        work.filtered_out += 1
        work.filtered_flat.append(identity if source.bodies else raw)
        return
    if source.bodies:
        work.gone_ids.append(identity)


def item_copy(source: RedisQueue, item: Item) -> str:
    """Return the id that accounts for a claimed message, as the translation finds it; empty if it can't be read."""
    identity, raw = item
    if source.bodies or raw is None:
        return identity.decode(errors="surrogateescape")
    try:
        return copy_id_of(read_envelope(raw, text_of(raw)), raw)
    except UnreadableError:
        return ""


def _sort(connections: Connections, work: Work) -> None:
    """Sort what is carried by destination: as a rule a message goes where the one before it went."""
    address: QueueAddress | None = None
    priority = None
    ways: dict[tuple[int, int, bool], Group] = {}
    take: Callable[[Translated], None] = work.translated.append
    for translated in work.translated:
        eta_ms = translated.eta_ms
        if eta_ms is not None or translated.address is not address or translated.priority != priority:
            address, priority = translated.address, translated.priority
            is_parked = eta_ms is not None and connections.parks(address, eta_ms)
            # By identity of the place: hashing one takes long.
            way = (id(address), priority, is_parked)
            group = ways.get(way)
            if group is None:
                group = ways[way] = _way(connections, work, translated, is_parked=is_parked)
            take = group.translated.append
            address = None if is_parked else address
        take(translated)
    prefix = ledger_entry(work.batch.source.address, "")
    for group in itertools.chain.from_iterable(groups.values() for groups in work.groups.values()):
        _fill(connections, work, group, prefix)


def _fill(connections: Connections, work: Work, group: Group, prefix: str) -> None:
    """Write down what the scripts take of the messages of a group."""
    group.messages = [one.payload for one in group.translated]
    if group.is_remote:
        group.entries = [(prefix + one.source_copy).encode("utf-8", "surrogateescape") for one in group.translated]
        work.forget += [one.forget for one in group.translated if one.forget]
    if group.bodies:
        group.keys = [one.copy_id.encode("utf-8", "surrogateescape") for one in group.translated]
    elif group.kind == "zset":
        work.parked += len(group.translated)
        group.keys = [(one.eta_ms or 0) - connections.release_lead_ms for one in group.translated]


def _way(connections: Connections, work: Work, translated: Translated, *, is_parked: bool) -> Group:
    """Return the group that takes a message."""
    identity = connections.identity(translated.address)
    name, bodies = (PARKED, "") if is_parked else connections.target(translated)
    groups = work.groups.setdefault(identity, {})
    group = groups.get(name)
    if group is None:
        kind = "zset" if is_parked else "hash" if bodies else "list"
        is_remote = identity != connections.identity(work.batch.source.address)
        group = groups[name] = Group(kind=kind, name=name, bodies=bodies, is_remote=is_remote)
    return group


def push_request(groups: dict[str, Group], *, token: str, life_ms: int, stamp: str) -> tuple[list[Any], list[Any]]:
    """Return keys and arguments of ``push.lua`` for one other server, the fence left out of the keys."""
    keys: list[Any] = [LEDGER]
    arguments: list[Any] = [token, life_ms, stamp, len(groups)]
    for group in groups.values():
        keys.append(group.name)
        number, bodies = len(keys) - 1, 0
        if group.bodies:
            keys.append(group.bodies)
            bodies = len(keys) - 1
        arguments += [group.kind, number, bodies, len(group.messages)]
        arguments += group.entries
        arguments += group.keys
        arguments += group.messages
    return keys, arguments


def note_request(groups: dict[str, Group], *, token: str, life_ms: int, stamp: str) -> Request | None:
    """Return what goes to one other server if nothing of it has been there, by ``note.lua``; None if that can't be."""
    if any(group.kind != "list" for group in groups.values()):
        return None
    arguments: list[Any] = [token, life_ms, stamp, len(groups)]
    for group in groups.values():
        arguments += (len(group.messages), group.messages[-1], *group.entries)
    pushes = [(group.name, group.messages) for group in groups.values()]
    return pushes, [LEDGER, *groups], arguments


def apply_request(connections: Connections, work: Work, *, claimed: int, token: str, life_ms: int) -> Request:
    """Return what is pushed, and keys and arguments of ``apply.lua`` after it, the fence left out of the keys.

    Args:
        hub: The servers.
        work: The batch; what went to other servers has arrived.
        claimed: How many entries the claim holds now.
        token: The fence's token.
        life_ms: The fence's life.
    """
    source = work.batch.source
    operations, pushes = _home_operations(connections, work)
    if work.quarantined_flat:
        operations.append(("HSET", quarantine_key(connections.endpoint(source.address)), "hash", work.quarantined_flat))
    if work.filtered_flat:
        operations.append(("RPUSH", source.filtered_out, "list", work.filtered_flat))
    if work.gone_ids:
        operations.append(("HDEL", source.bodies, "hash", work.gone_ids))
    if work.forget:
        operations.append(("HDEL", LEDGER, "hash", work.forget))
    keys: list[Any] = [source.claim]
    arguments: list[Any] = [token, life_ms, claimed, len(work.batch.items), len(operations)]
    for command, key, kind, values in operations:
        keys.append(key)
        if values is work.gone_ids and len(values) == len(work.batch.items):
            # All of those that leave the claim: the script finds their ids there.
            arguments += [command, len(keys) - 1, kind, "claimed"]
        else:
            arguments += [command, len(keys) - 1, kind, len(values)]
            arguments += values
    return pushes, keys, arguments


def _home_operations(connections: Connections, work: Work) -> tuple[list[Operation], list[Push]]:
    """Return what takes messages to the lists of the server that holds the claim."""
    operations: list[Operation] = []
    pushes: list[Push] = []
    for group in work.groups.get(connections.identity(work.batch.source.address), {}).values():
        pairs = list(itertools.chain.from_iterable(zip(group.keys, group.messages, strict=True))) if group.keys else []
        if group.bodies:
            operations.append(("HSET", group.bodies, "hash", pairs))
            operations.append(("RPUSH", group.name, "list", group.keys))
        elif group.kind == "zset":
            operations.append(("ZADD", group.name, "zset", pairs))
        else:
            pushes.append((group.name, group.messages))
            operations.append(("pushed", group.name, "list", [len(group.messages), group.messages[-1]]))
    return operations, pushes
