"""One batch of messages: its translation, and the operations that apply it.

On the server that holds the claim, a whole batch is applied by one script: copies first, then deletions. What goes to
another server is pushed there first, with the ledger as proof (see ``brokers/redis/scripts/push.lua``).
"""

from __future__ import annotations

import itertools
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from migrator.brokers.redis.keys import LEDGER, PARKED, RedisQueue, quarantine_key
from migrator.brokers.redis.pipeline import Push
from migrator.brokers.redis.quarantine import quarantine_entry
from migrator.transfer.connections import Connections
from migrator.transfer.scope import staying_task
from migrator.translation.result import Translated, Translation, Translator, ledger_entry
from migrator.wire.json_codec import UnreadableError, text_of
from migrator.wire.kombu_envelope import copy_id_of, read_envelope
from migrator.wire.quarantined import Quarantined
from migrator.wire.queue_address import QueueAddress

#: One operation of ``apply.lua``: command, key, type of the key, arguments.
Operation = tuple[str, str, str, list[Any]]
#: The messages to push, and the keys and arguments of the script that goes with them.
Request = tuple[list[Push], list[Any], list[Any]]
#: One claimed message: id of the copy (Dramatiq only) and its bytes, None if the body is gone.
Item = tuple[bytes, bytes | None]


@dataclass(slots=True, kw_only=True)
class Batch:
    """Messages claimed from one Redis queue, in the order of service."""

    queue: RedisQueue
    items: list[Item]
    #: Claimed by a run that was interrupted.
    resumed: bool = False
    #: Ledger entries of those that the interrupted run had already pushed to another server.
    arrived: frozenset[str] = frozenset()


@dataclass(slots=True, kw_only=True)
class Group:
    """Messages for one destination, as the parallel lists that the scripts take as arguments."""

    #: ``list`` (Celery), ``hash`` (Dramatiq: list and hash of bodies) or ``zset`` (parked).
    kind: str
    name: str
    bodies: str = ""
    is_remote: bool = False
    translated: list[Translated] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    #: For another server: the entries for its ledger.
    entries: list[bytes] = field(default_factory=list)
    #: Dramatiq: the ids. Parked messages: their release times.
    keys: list[Any] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Work:
    """A translated batch."""

    batch: Batch
    translated: list[Translated] = field(default_factory=list)
    quarantined: list[tuple[str, Quarantined]] = field(default_factory=list)
    filtered_out: int = 0
    #: Included in ``filtered_out``: those whose tasks stay, by name.
    stays: Counter[str] = field(default_factory=Counter)
    #: Included in ``translated``.
    parked: int = 0
    without_body: int = 0
    #: Reached another server in an interrupted run and would not be sent there now: only deleted here.
    arrived: int = 0
    #: By identity of the server, then by key of the list.
    groups: dict[str, dict[str, Group]] = field(default_factory=dict)
    quarantined_flat: list[bytes] = field(default_factory=list)
    filtered_flat: list[bytes] = field(default_factory=list)
    gone_ids: list[bytes] = field(default_factory=list)
    forget: list[str] = field(default_factory=list)
    #: Ledger entries that other servers refused.
    refused: int = 0


_numbers = (f"{uuid.uuid4().hex[:12]}{number:x}" for number in itertools.count())


def select_all(translation: Translation) -> bool:
    """Select every message."""
    return True


def prepare(
    connections: Connections, batch: Batch, translate: Translator, selects: Callable[[Translation], bool]
) -> Work:
    """Translate a batch and sort it by destination."""
    work = Work(batch=batch)
    address, with_ids = batch.queue.address, bool(batch.queue.bodies)
    items = _with_bodies(batch.items) if with_ids else batch.items
    work.without_body = len(batch.items) - len(items)
    made = [translate(address, identity.decode("utf-8", "surrogateescape"), raw or b"") for identity, raw in items]
    if selects is select_all and set(map(type, made)) == {Translated}:
        work.translated = cast(list[Translated], made)
        work.gone_ids = [identity for identity, _ in items] if with_ids else []
    else:
        for item, translation in zip(items, made, strict=True):
            if isinstance(translation, Translated) and selects(translation):
                work.translated.append(translation)
                work.gone_ids += item[:1] if with_ids else ()
            else:
                _leave_behind(work, item, translation, selects)
    _sort(connections, work)
    return work


def _with_bodies(items: list[Item]) -> list[Item]:
    """Return the items that have a body; an id that is listed twice has one."""
    return [item for item in dict(items).items() if item[1] is not None]


def _leave_behind(work: Work, item: Item, translation: Translation, selects: Callable[[Translation], bool]) -> None:
    """Record a message that is not moved: quarantined, or filtered out."""
    queue, arrived = work.batch.queue, work.batch.arrived
    identity, raw = item[0], item[1] or b""
    if arrived and ledger_entry(queue.address, item_copy(queue, item)) in arrived:
        # It was pushed, and has expired since or is excluded by another filter now: it has arrived all the same.
        work.arrived += 1
    elif isinstance(translation, Quarantined) and not staying_task(translation) and selects(translation):
        copy_id = identity.decode(errors="surrogateescape")
        work.quarantined.append((copy_id, translation))
        work.quarantined_flat.extend(quarantine_entry(queue, copy_id, next(_numbers), translation, raw))
    else:
        work.stays.update(staying_task(translation))
        work.filtered_out += 1
        work.filtered_flat.append(identity if queue.bodies else raw)
        return
    if queue.bodies:
        work.gone_ids.append(identity)


def item_copy(queue: RedisQueue, item: Item) -> str:
    """Return the copy id by which the ledger knows a claimed message; empty if it can't be read."""
    identity, raw = item
    if queue.bodies or raw is None:
        return identity.decode(errors="surrogateescape")
    try:
        return copy_id_of(read_envelope(raw, text_of(raw)), raw)
    except UnreadableError:
        return ""


def _sort(connections: Connections, work: Work) -> None:
    """Group translated messages by destination; usually a message goes to the same one as the message before it."""
    address: QueueAddress | None = None
    priority = None
    by_key: dict[tuple[int, int, bool], Group] = {}
    take: Callable[[Translated], None] = work.translated.append
    for translated in work.translated:
        eta_ms = translated.eta_ms
        if eta_ms is not None or translated.address is not address or translated.priority != priority:
            address, priority = translated.address, translated.priority
            is_parked = eta_ms is not None and connections.parks(address, eta_ms)
            # By the identity of the address object: hashing an address is slow.
            key = (id(address), priority, is_parked)
            group = by_key.get(key)
            if group is None:
                group = by_key[key] = _group_for(connections, work, translated, is_parked=is_parked)
            take = group.translated.append
            address = None if is_parked else address
        take(translated)
    prefix = ledger_entry(work.batch.queue.address, "")
    for group in itertools.chain.from_iterable(groups.values() for groups in work.groups.values()):
        _fill(connections, work, group, prefix)


def _fill(connections: Connections, work: Work, group: Group, prefix: str) -> None:
    """Fill in the script arguments of a group."""
    group.messages = [one.payload for one in group.translated]
    if group.is_remote:
        group.entries = [(prefix + one.source_copy).encode("utf-8", "surrogateescape") for one in group.translated]
        work.forget += [one.forget for one in group.translated if one.forget]
    if group.bodies:
        group.keys = [one.copy_id.encode("utf-8", "surrogateescape") for one in group.translated]
    elif group.kind == "zset":
        work.parked += len(group.translated)
        group.keys = [(one.eta_ms or 0) - connections.release_lead_ms for one in group.translated]


def _group_for(connections: Connections, work: Work, translated: Translated, *, is_parked: bool) -> Group:
    """Return the group that a message belongs to."""
    identity = connections.identity(translated.address)
    name, bodies = (PARKED, "") if is_parked else connections.target(translated)
    groups = work.groups.setdefault(identity, {})
    group = groups.get(name)
    if group is None:
        kind = "zset" if is_parked else "hash" if bodies else "list"
        is_remote = identity != connections.identity(work.batch.queue.address)
        group = groups[name] = Group(kind=kind, name=name, bodies=bodies, is_remote=is_remote)
    return group


def push_request(groups: dict[str, Group], *, token: str, life_ms: int, stamp: str) -> tuple[list[Any], list[Any]]:
    """Return keys (without the fence) and arguments of ``push.lua`` for one other server."""
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
    """Return the request for a server where nothing has arrived yet (``note.lua``); None if not all are lists."""
    if any(group.kind != "list" for group in groups.values()):
        return None
    arguments: list[Any] = [token, life_ms, stamp, len(groups)]
    for group in groups.values():
        arguments += (len(group.messages), group.messages[-1], *group.entries)
    pushes = [(group.name, group.messages) for group in groups.values()]
    return pushes, [LEDGER, *groups], arguments


def apply_request(connections: Connections, work: Work, *, claimed: int, token: str, life_ms: int) -> Request:
    """Return the messages to push, and keys (without the fence) and arguments of ``apply.lua``, which runs after them.

    Args:
        connections: The servers.
        work: The batch; what goes to other servers has arrived there.
        claimed: How many entries the claim holds now.
        token: The token of the lock.
        life_ms: How long the lock lives.
    """
    queue = work.batch.queue
    operations, pushes = _home_operations(connections, work)
    if work.quarantined_flat:
        operations.append(("HSET", quarantine_key(connections.endpoint(queue.address)), "hash", work.quarantined_flat))
    if work.filtered_flat:
        operations.append(("RPUSH", queue.filtered_out, "list", work.filtered_flat))
    if work.gone_ids:
        operations.append(("HDEL", queue.bodies, "hash", work.gone_ids))
    if work.forget:
        operations.append(("HDEL", LEDGER, "hash", work.forget))
    keys: list[Any] = [queue.claim]
    arguments: list[Any] = [token, life_ms, claimed, len(work.batch.items), len(operations)]
    for command, key, kind, values in operations:
        keys.append(key)
        if values is work.gone_ids and len(values) == len(work.batch.items):
            # Every message that leaves the claim: the script reads their ids from the claim itself.
            arguments += [command, len(keys) - 1, kind, "claimed"]
        else:
            arguments += [command, len(keys) - 1, kind, len(values)]
            arguments += values
    return pushes, keys, arguments


def _home_operations(connections: Connections, work: Work) -> tuple[list[Operation], list[Push]]:
    """Return the operations and pushes for the server that holds the claim."""
    operations: list[Operation] = []
    pushes: list[Push] = []
    for group in work.groups.get(connections.identity(work.batch.queue.address), {}).values():
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
