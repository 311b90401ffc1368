"""One batch of messages: its translation, and where each of them goes. What applies it is up to the servers."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from migrator.transfer.scope import staying_task
from migrator.translation.result import Translated, Translation, Translator, ledger_entry
from migrator.wire.json_codec import UnreadableError, text_of
from migrator.wire.kombu_envelope import copy_id_of, read_envelope
from migrator.wire.quarantined import Quarantined
from migrator.wire.queue_address import QueueAddress

#: One claimed message: id of the copy (empty where the message itself tells it) and its bytes, None if they are gone.
Item = tuple[bytes, bytes | None]


@dataclass(slots=True, kw_only=True)
class Batch:
    """Messages claimed from one queue, in the order of service."""

    address: QueueAddress
    items: list[Item]
    #: Each has an id of its own beside its bytes.
    with_ids: bool
    #: RabbitMQ: the deliveries by copy id, until they are acknowledged.
    deliveries: dict[str, Any] = field(default_factory=dict)
    #: Claimed by a run that was interrupted.
    resumed: bool = False
    #: Ledger entries of those that the interrupted run had already pushed to another server.
    arrived: frozenset[str] = frozenset()


@dataclass(slots=True, kw_only=True)
class Group:
    """Messages for one destination, as the parallel lists that a server takes."""

    address: QueueAddress
    #: ``list`` (Celery), ``hash`` (Dramatiq: list and hash of bodies), ``zset`` (parked) or ``queue`` (AMQP).
    kind: str
    #: Key of the list or the set; name of the queue.
    name: str
    is_remote: bool = False
    translated: list[Translated] = field(default_factory=list)
    messages: list[Any] = field(default_factory=list)
    #: For another server: the entries for its ledger.
    entries: list[bytes] = field(default_factory=list)
    #: Dramatiq: the ids. Parked messages: their release times.
    keys: list[Any] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Work:
    """A translated batch."""

    batch: Batch
    translated: list[Translated] = field(default_factory=list)
    quarantined: list[tuple[Item, Quarantined]] = field(default_factory=list)
    filtered: list[Item] = field(default_factory=list)
    #: Of those filtered out: those whose tasks stay, by name.
    stays: Counter[str] = field(default_factory=Counter)
    #: Included in ``translated``.
    parked: int = 0
    without_body: int = 0
    #: Reached another server in an interrupted run: only deleted here.
    arrived: int = 0
    #: By identity of the server, then by name of the destination.
    groups: dict[str, dict[str, Group]] = field(default_factory=dict)
    forget: list[str] = field(default_factory=list)
    #: Ledger entries that other servers refused.
    refused: int = 0


class Routes(Protocol):
    """Where messages go."""

    @property
    def release_lead_ms(self) -> float:
        """How long before its ETA a parked message is released."""

    def identity(self, address: QueueAddress) -> str:
        """Return the identity of the server that holds a queue."""

    def parks(self, address: QueueAddress, eta_ms: int) -> bool:
        """Say whether a message with this ETA is parked."""

    def target(self, translated: Translated, *, is_parked: bool) -> tuple[str, str]:
        """Return kind and name of the destination of a message."""


def select_all(translation: Translation) -> bool:
    """Select every message."""
    return True


def prepare(routes: Routes, batch: Batch, translate: Translator, selects: Callable[[Translation], bool]) -> Work:
    """Translate a batch and sort it by destination."""
    work, address = Work(batch=batch), batch.address
    items = _with_bodies(batch.items) if batch.with_ids else batch.items
    work.without_body = len(batch.items) - len(items)
    made = [translate(address, identity.decode("utf-8", "surrogateescape"), raw or b"") for identity, raw in items]
    if batch.arrived:
        items, made = _without_arrived(work, items, made)
    if selects is select_all and set(map(type, made)) == {Translated}:
        work.translated = cast(list[Translated], made)
    else:
        for item, translation in zip(items, made, strict=True):
            stays = staying_task(translation)
            if stays or not selects(translation):
                work.stays.update(stays)
                work.filtered.append(item)
            elif isinstance(translation, Quarantined):
                work.quarantined.append((item, translation))
            else:
                work.translated.append(translation)
    _sort(routes, work)
    return work


def _without_arrived(work: Work, items: list[Item], made: list[Translation]) -> tuple[list[Item], list[Translation]]:
    """Leave out what has arrived, whatever it would be translated to now; its way back is over as well."""
    fresh: list[tuple[Item, Translation]] = []
    for item, translation in zip(items, made, strict=True):
        if ledger_entry(work.batch.address, item_copy(work.batch, item)) not in work.batch.arrived:
            fresh.append((item, translation))
            continue
        work.arrived += 1
        if isinstance(translation, Translated) and translation.forget:
            work.forget.append(translation.forget)
    return [item for item, _ in fresh], [translation for _, translation in fresh]


def _with_bodies(items: list[Item]) -> list[Item]:
    """Return the items that have a body; an id that is listed twice has one."""
    return [item for item in dict(items).items() if item[1] is not None]


def item_copy(batch: Batch, item: Item) -> str:
    """Return the copy id by which the ledger knows a claimed message; empty if it can't be read."""
    identity, raw = item
    if batch.with_ids or raw is None:
        return identity.decode(errors="surrogateescape")
    try:
        return copy_id_of(read_envelope(raw, text_of(raw)), raw)
    except UnreadableError:
        return ""


def ledger_entries(batch: Batch) -> list[str]:
    """Return the keys by which a ledger knows the messages of a batch."""
    return [ledger_entry(batch.address, item_copy(batch, item)) for item in batch.items]


def _sort(routes: Routes, work: Work) -> None:
    """Group translated messages by destination; usually a message goes to the same one as the message before it."""
    address: QueueAddress | None = None
    priority = None
    by_key: dict[tuple[int, int, bool], Group] = {}
    take: Callable[[Translated], None] = work.translated.append
    for translated in work.translated:
        eta_ms = translated.eta_ms
        if eta_ms is not None or translated.address is not address or translated.priority != priority:
            address, priority = translated.address, translated.priority
            is_parked = eta_ms is not None and routes.parks(address, eta_ms)
            # By the identity of the address object: hashing an address is slow.
            key = (id(address), priority, is_parked)
            group = by_key.get(key)
            if group is None:
                group = by_key[key] = _group_for(routes, work, translated, is_parked=is_parked)
            take = group.translated.append
            address = None if is_parked else address
        take(translated)
    prefix = ledger_entry(work.batch.address, "")
    for group in itertools.chain.from_iterable(groups.values() for groups in work.groups.values()):
        _fill(routes, work, group, prefix)


def _fill(routes: Routes, work: Work, group: Group, prefix: str) -> None:
    """Fill in the parallel lists of a group."""
    group.messages = [one.payload for one in group.translated]
    if group.is_remote:
        group.entries = [(prefix + one.source_copy).encode("utf-8", "surrogateescape") for one in group.translated]
        work.forget += [one.forget for one in group.translated if one.forget]
    if group.kind == "hash":
        group.keys = [one.copy_id.encode("utf-8", "surrogateescape") for one in group.translated]
    elif group.kind == "zset":
        work.parked += len(group.translated)
        group.keys = [(one.eta_ms or 0) - routes.release_lead_ms for one in group.translated]


def _group_for(routes: Routes, work: Work, translated: Translated, *, is_parked: bool) -> Group:
    """Return the group that a message belongs to."""
    identity = routes.identity(translated.address)
    kind, name = routes.target(translated, is_parked=is_parked)
    groups = work.groups.setdefault(identity, {})
    group = groups.get(name)
    if group is None:
        is_remote = identity != routes.identity(work.batch.address)
        group = groups[name] = Group(address=translated.address, kind=kind, name=name, is_remote=is_remote)
    return group
