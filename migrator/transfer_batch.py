"""One batch of messages: its translation, and the operations that carry it out.

On the server that holds the claim everything of a batch happens in one script: copies first, then deletions. What
goes to another server is pushed there first, with the ledger as proof (see ``brokers/scripts/push.lua``).
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from migrator.brokers.kept import kept_entry
from migrator.brokers.redis_keys import LEDGER, PARKED, Source, kept_key
from migrator.envelope import copy_id_of, read_envelope
from migrator.plan import Side
from migrator.transfer_hub import Hub
from migrator.translate import Translator
from migrator.translation import Carried, KeptBack, Place, Translation, ledger_entry
from migrator.wire import UnreadableError, text_of

#: One message as it was taken: id of the copy (Dramatiq only) and its bytes, None if the body is gone.
Item = tuple[bytes, bytes | None]


@dataclass(slots=True, kw_only=True)
class Batch:
    """Messages taken from one list, in the order of service."""

    source: Source
    items: list[Item]
    #: Taken by a run that was interrupted.
    resumed: bool = False
    #: Ledger entries of those that the interrupted run had pushed to another server already.
    arrived: frozenset[str] = frozenset()


@dataclass(slots=True, kw_only=True)
class Group:
    """Messages for one destination, as the scripts take them."""

    #: ``list`` (Celery), ``hash`` (Dramatiq: list and hash of bodies) or ``zset`` (parked).
    kind: str
    name: str
    bodies: str = ""
    count: int = 0
    #: For another server: ledger entry, [id,] message for each.
    flat: list[Any] = field(default_factory=list)
    ids: list[Any] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Work:
    """A translated batch."""

    batch: Batch
    carried: list[Carried] = field(default_factory=list)
    kept: list[tuple[str, KeptBack]] = field(default_factory=list)
    passed: int = 0
    #: Of those carried.
    parked: int = 0
    without_body: int = 0
    #: Reached another server in an interrupted run, and would not be sent there now; only taken away here.
    arrived: int = 0
    #: By place, priority and whether it is parked: the group, and whether it is for another server.
    ways: dict[tuple[Place, int, bool], tuple[Group, bool]] = field(default_factory=dict)
    #: By identity of the server, then by list.
    groups: dict[str, dict[str, Group]] = field(default_factory=dict)
    kept_flat: list[bytes] = field(default_factory=list)
    passed_flat: list[bytes] = field(default_factory=list)
    gone_ids: list[bytes] = field(default_factory=list)
    forget: list[str] = field(default_factory=list)
    #: Ledger entries that other servers refused.
    refused: int = 0


_numbers = (f"{uuid.uuid4().hex[:12]}{number:x}" for number in itertools.count())


def prepare(hub: Hub, batch: Batch, translate: Translator, selects: Callable[[Translation], bool]) -> Work:
    """Translate a batch and sort it by destination."""
    work = Work(batch=batch)
    source, home = batch.source, hub.identity(batch.source.place)
    place, with_ids = source.place, bool(source.bodies)
    seen: set[bytes] = set()
    for identity, raw in batch.items:
        if raw is None or (with_ids and identity in seen):
            work.without_body += 1
            continue
        seen.add(identity)
        copy_id = identity.decode(errors="surrogateescape")
        translation = translate(place, copy_id, raw)
        goes = not isinstance(translation, KeptBack) and selects(translation)
        if not goes and batch.arrived and ledger_entry(place, item_copy(source, (identity, raw))) in batch.arrived:
            # Since it was pushed it has expired, or another filter was given: it is there all the same.
            work.arrived += 1
            if with_ids:
                work.gone_ids.append(identity)
            continue
        if not selects(translation):
            work.passed += 1
            work.passed_flat.append(identity if with_ids else raw)
            continue
        if with_ids:
            work.gone_ids.append(identity)
        if isinstance(translation, KeptBack):
            work.kept.append((copy_id, translation))
            work.kept_flat.extend(kept_entry(source, copy_id, next(_numbers), translation, raw))
        else:
            _sort_in(hub, work, translation, home)
    return work


def item_copy(source: Source, item: Item) -> str:
    """Return the id that accounts for a claimed message, as the translation finds it; empty if it can't be read."""
    identity, raw = item
    if source.bodies or raw is None:
        return identity.decode(errors="surrogateescape")
    try:
        return copy_id_of(read_envelope(raw, text_of(raw)), raw)
    except UnreadableError:
        return ""


def _sort_in(hub: Hub, work: Work, carried: Carried, home: str) -> None:
    work.carried.append(carried)
    is_parked = carried.eta_ms is not None and hub.park_after_ms is not None and carried.eta_ms > hub.park_after_ms
    is_parked = is_parked and carried.place.side is Side.UNIFIED
    way = (carried.place, carried.priority, is_parked)
    known = work.ways.get(way)
    if known is None:
        known = work.ways[way] = _way(hub, work, carried, home, is_parked=is_parked)
    group, is_remote = known
    group.count += 1
    flat = group.flat
    if is_remote:
        flat.append(ledger_entry(work.batch.source.place, carried.source_copy).encode(errors="surrogateescape"))
        if carried.forget:
            work.forget.append(carried.forget)
    if is_parked:
        work.parked += 1
        flat.append((carried.eta_ms or 0) - hub.release_lead_ms)
    if group.bodies:
        copy_id = carried.copy_id.encode(errors="surrogateescape")
        flat.append(copy_id)
        group.ids.append(copy_id)
    flat.append(carried.payload)


def _way(hub: Hub, work: Work, carried: Carried, home: str, *, is_parked: bool) -> tuple[Group, bool]:
    """Return the group that takes a message, and whether it is for another server."""
    identity = hub.identity(carried.place)
    name, bodies = (PARKED, "") if is_parked else hub.target(carried)
    groups = work.groups.setdefault(identity, {})
    group = groups.get(name)
    if group is None:
        kind = "zset" if is_parked else "hash" if bodies else "list"
        group = groups[name] = Group(kind=kind, name=name, bodies=bodies)
    return group, identity != home


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
        arguments += [group.kind, number, bodies, group.count]
        arguments += group.flat
    return keys, arguments


def apply_request(hub: Hub, work: Work, *, claimed: int, token: str, life_ms: int) -> tuple[list[Any], list[Any]]:
    """Return keys and arguments of ``apply.lua``, the fence left out of the keys.

    Args:
        hub: The servers.
        work: The batch; what went to other servers has arrived.
        claimed: How many entries the claim holds now.
        token: The fence's token.
        life_ms: The fence's life.
    """
    source = work.batch.source
    operations: list[tuple[str, str, str, list[Any]]] = []
    for group in work.groups.get(hub.identity(source.place), {}).values():
        if group.bodies:
            operations.append(("HSET", group.bodies, "hash", group.flat))
            operations.append(("RPUSH", group.name, "list", group.ids))
        elif group.kind == "zset":
            operations.append(("ZADD", group.name, "zset", group.flat))
        else:
            operations.append(("LPUSH", group.name, "list", group.flat))
    if work.kept_flat:
        operations.append(("HSET", kept_key(hub.endpoint(source.place)), "hash", work.kept_flat))
    if work.passed_flat:
        operations.append(("RPUSH", source.passed, "list", work.passed_flat))
    if work.gone_ids:
        operations.append(("HDEL", source.bodies, "hash", work.gone_ids))
    if work.forget:
        operations.append(("HDEL", LEDGER, "hash", work.forget))
    keys: list[Any] = [source.claim]
    arguments: list[Any] = [token, life_ms, claimed, len(work.batch.items), len(operations)]
    for command, key, kind, values in operations:
        keys.append(key)
        arguments += [command, len(keys) - 1, kind, len(values)]
        arguments += values
    return keys, arguments
