"""Messages that change place without translation: kept back ones, those of dead workers, those that a filter left."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from itertools import islice
from typing import Any

from migrator.brokers.protocol import Owner
from migrator.brokers.redis.celery import CeleryRedis
from migrator.brokers.redis.dramatiq import DramatiqRedis, acks_key
from migrator.brokers.redis.keys import LOCK, Source, celery_list, kept_key, sources, unacked_keys
from migrator.brokers.redis.quarantine import KeptMessage, read_kept
from migrator.brokers.redis.server import RedisServer
from migrator.errors import RefusedError
from migrator.transfer.connections import Hub
from migrator.transfer.lock import LIFE_MS
from migrator.wire.message import Side
from migrator.wire.queue_address import Place

_PAGE = 200


def restore_kept(hub: Hub, sides: Collection[Side], token: str) -> int:
    """Put messages that were kept back into the lists that they came from; return how many."""
    restored = 0
    for (side, _), broker in hub.brokers.items():
        if side not in sides:
            continue
        server, by_list = broker.server, {source.list: source for source in sources(broker.endpoint)}
        with server.translated():
            while page := _page_of_kept(broker):
                for kept in page:
                    source = by_list.get(kept.list, sources(broker.endpoint)[0])
                    restored += _restore_one(server, source, kept_key(broker.endpoint), kept, token)
                    hub.prolong(token)
    return restored


def _page_of_kept(broker: DramatiqRedis | CeleryRedis) -> list[KeptMessage]:
    page: dict[bytes, KeptMessage] = {}
    for kept in read_kept(broker.server.client, broker.endpoint):
        page[kept.field] = kept
        if len(page) >= _PAGE:
            break
    return list(page.values())


def _restore_one(server: RedisServer, source: Source, key: str, kept: KeptMessage, token: str) -> int:
    if source.bodies:
        copy_id = kept.copy_id.encode(errors="surrogateescape")
        copies: list[Any] = ["HSET", 1, "hash", 2, copy_id, kept.raw, "LPUSH", 2, "list", 1, copy_id]
        keys = [source.bodies, source.list, key]
    else:
        copies = ["RPUSH", 1, "list", 1, kept.raw]
        keys = [source.list, key]
    arguments = [token, LIFE_MS, 0, 0, len(keys), *copies, "HDEL", len(keys), "hash", 1, kept.field]
    # The claim is not concerned: a key that never exists stands in for it.
    server.run("apply", [LOCK, f"{key}:none", *keys], arguments)
    return 1


def unpass(hub: Hub, source: Source, token: str) -> None:
    """Put what a filter left out back to where it was."""
    server = hub.servers[hub.identity(source.place)]
    end = "LEFT" if source.bodies else "RIGHT"
    with server.translated():
        while server.client.llen(source.passed):
            server.run("unpass", [LOCK, source.passed, source.list], [token, LIFE_MS, 500, end])
            hub.prolong(token)


def adopt(hub: Hub, wanted: Iterable[Source], token: str, *, silence_s: float) -> int:
    """Give messages that dead workers had claimed back to their queues; return how many.

    Raises:
        RefusedError: A worker that should be dead has shown a sign of life.
    """
    places = {(source.place.side, source.place.system, source.place.queue) for source in wanted}
    adopted = 0
    for (side, system), broker in hub.brokers.items():
        queues = {queue for place_side, place_system, queue in places if (place_side, place_system) == (side, system)}
        if not queues:
            continue
        with broker.server.translated():
            if isinstance(broker, DramatiqRedis):
                adopted += _adopt_ids(broker, queues, token, silence_s)
            else:
                adopted += _adopt_unacked(broker, queues, token)
            hub.prolong(token)
    return adopted


def _adopt_ids(broker: DramatiqRedis, queues: Collection[str], token: str, silence_s: float) -> int:
    owners = [owner for owner in broker.owners() if owner.queue in queues]
    _watch(broker, owners, silence_s)
    adopted = 0
    for owner in owners:
        place = Place(broker.endpoint.side, broker.endpoint.system, owner.queue, owner.delayed)
        source = next(source for source in sources(broker.endpoint) if source.place == place)
        keys = [LOCK, acks_key(broker.endpoint, owner.id, place), source.list, source.bodies]
        heartbeats = f"{broker.endpoint.namespace}:__heartbeats__"
        seen = "" if owner.heartbeat_ms is None else owner.heartbeat_ms
        back, _ = broker.server.run("adopt_ids", [*keys, heartbeats], [token, LIFE_MS, owner.id, seen])
        adopted += back
    return adopted


def _watch(broker: DramatiqRedis, owners: list[Owner], silence_s: float) -> None:
    """Wait until every owner has been silent long enough: by what the server holds, not by anybody's clock."""
    recent = [owner for owner in owners if owner.silent_s is None or owner.silent_s < 60]
    if not recent or silence_s <= 0:
        return
    time.sleep(silence_s)
    beats = {(owner.id, owner.queue, owner.delayed): owner.heartbeat_ms for owner in broker.owners()}
    for owner in recent:
        if beats.get((owner.id, owner.queue, owner.delayed), owner.heartbeat_ms) != owner.heartbeat_ms:
            raise RefusedError(
                f"{broker.where} {owner.queue}",
                "a Dramatiq worker is still alive and holds messages",
                found=f"worker {owner.id}, {owner.claimed} messages",
                remedy="stop the old workers, then run again",
            )


def _adopt_unacked(broker: CeleryRedis, queues: Collection[str], token: str) -> int:
    adopted = 0
    while True:
        # One walk with the cursor for many pages: other applications' entries stay, and would be read each time.
        entries = (entry for entry in broker.unacked() if entry[0] in queues)
        found = 0
        while page := list(islice(entries, _PAGE)):
            found += len(page)
            adopted += _adopt_page(broker, page, token)
        if not found:
            return adopted


def _adopt_page(broker: CeleryRedis, page: list[tuple[str, bytes, bytes, int]], token: str) -> int:
    lists: list[str] = []
    arguments: list[Any] = [token, LIFE_MS]
    for queue, tag, raw, priority in page:
        name = celery_list(broker.endpoint, queue, priority)
        if name not in lists:
            lists.append(name)
        arguments += [tag, lists.index(name) + 1, raw]
    return int(broker.server.run("adopt_unacked", [LOCK, *unacked_keys(broker.endpoint), *lists], arguments))
