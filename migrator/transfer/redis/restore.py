"""Put messages on Redis back without translating them: quarantined ones, and claims of stopped workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from itertools import islice
from typing import Any

from migrator.brokers.protocol import Owner
from migrator.brokers.redis.celery import CeleryRedis
from migrator.brokers.redis.dramatiq import DramatiqRedis, acks_key
from migrator.brokers.redis.keys import LOCK, RedisQueue, celery_list, quarantine_key, sources, unacked_keys
from migrator.brokers.redis.quarantine import QuarantinedMessage, read_quarantined
from migrator.brokers.redis.server import RedisServer
from migrator.errors import RefusedError
from migrator.transfer.lock import LIFE_MS
from migrator.wire.queue_address import QueueAddress

_PAGE = 200
_LOOK_S = 0.5

RedisBroker = DramatiqRedis | CeleryRedis


def restore_quarantined(broker: RedisBroker, token: str, *, keep_locks: Callable[[], None]) -> int:
    """Put quarantined messages back into the queues that they came from; return how many."""
    restored, queues = 0, sources(broker.endpoint)
    by_list = {queue.list: queue for queue in queues}
    while page := _page_of_quarantined(broker):
        for quarantined in page:
            queue = by_list.get(quarantined.list, queues[0])
            _restore_one(broker.server, queue, quarantine_key(broker.endpoint), quarantined, token)
            keep_locks()
        restored += len(page)
    return restored


def _page_of_quarantined(broker: RedisBroker) -> list[QuarantinedMessage]:
    page: dict[bytes, QuarantinedMessage] = {}
    for quarantined in read_quarantined(broker.server.client, broker.endpoint):
        page[quarantined.field] = quarantined
        if len(page) >= _PAGE:
            break
    return list(page.values())


def _restore_one(
    server: RedisServer, redis_queue: RedisQueue, key: str, quarantined: QuarantinedMessage, token: str
) -> None:
    if redis_queue.bodies:
        copy_id = quarantined.copy_id.encode(errors="surrogateescape")
        copies: list[Any] = ["HSET", 1, "hash", 2, copy_id, quarantined.raw, "LPUSH", 2, "list", 1, copy_id]
        keys = [redis_queue.bodies, redis_queue.list, key]
    else:
        copies = ["RPUSH", 1, "list", 1, quarantined.raw]
        keys = [redis_queue.list, key]
    arguments = [token, LIFE_MS, 0, 0, len(keys), *copies, "HDEL", len(keys), "hash", 1, quarantined.field]
    # No claim is involved: a key that never exists stands in for it.
    server.run("apply", [LOCK, f"{key}:none", *keys], arguments)


def reclaim(broker: RedisBroker, queues: Collection[str], token: str, *, silence_s: float) -> int:
    """Return messages that stopped workers had claimed to their queues; return how many.

    Raises:
        RefusedError: A worker that should have stopped has sent a heartbeat.
    """
    if isinstance(broker, DramatiqRedis):
        return _reclaim_ids(broker, queues, token, silence_s)
    return _reclaim_unacked(broker, queues, token)


def _reclaim_ids(broker: DramatiqRedis, queues: Collection[str], token: str, silence_s: float) -> int:
    owners = [owner for owner in broker.owners() if owner.queue in queues]
    _watch(broker, owners, silence_s)
    reclaimed = 0
    for owner in owners:
        address = QueueAddress(broker.endpoint.side, broker.endpoint.system, owner.queue, owner.delayed)
        redis_queue = next(redis_queue for redis_queue in sources(broker.endpoint) if redis_queue.address == address)
        keys = [LOCK, acks_key(broker.endpoint, owner.id, address), redis_queue.list, redis_queue.bodies]
        heartbeats = f"{broker.endpoint.namespace}:__heartbeats__"
        seen = "" if owner.heartbeat_ms is None else owner.heartbeat_ms
        back, _ = broker.server.run("reclaim_ids", [*keys, heartbeats], [token, LIFE_MS, owner.id, seen])
        reclaimed += back
    return reclaimed


def _watch(broker: DramatiqRedis, owners: list[Owner], silence_s: float) -> None:
    """Wait until every owner has been silent long enough: its heartbeat must not move, whatever its clock says."""
    end = time.monotonic() + silence_s
    while owners and (left_s := end - time.monotonic()) > 0:
        time.sleep(min(left_s, _LOOK_S))
        beats = {(owner.id, owner.queue, owner.delayed): owner.heartbeat_ms for owner in broker.owners()}
        for owner in owners:
            if beats.get((owner.id, owner.queue, owner.delayed), owner.heartbeat_ms) != owner.heartbeat_ms:
                raise RefusedError(
                    f"{broker.where} {owner.queue}",
                    "a Dramatiq worker is still alive and holds messages",
                    found=f"worker {owner.id}, {owner.claimed} messages",
                    remedy="stop the old workers, then run again",
                )


def _reclaim_unacked(broker: CeleryRedis, queues: Collection[str], token: str) -> int:
    reclaimed = 0
    while True:
        # One cursor for many pages: entries of other applications stay, and would be read again each time.
        entries = (entry for entry in broker.unacked() if entry[0] in queues)
        found = 0
        while page := list(islice(entries, _PAGE)):
            found += len(page)
            reclaimed += _reclaim_page(broker, page, token)
        if not found:
            return reclaimed


def _reclaim_page(broker: CeleryRedis, page: list[tuple[str, bytes, bytes, int]], token: str) -> int:
    lists: list[str] = []
    arguments: list[Any] = [token, LIFE_MS]
    for queue, tag, raw, priority in page:
        name = celery_list(broker.endpoint, queue, priority)
        if name not in lists:
            lists.append(name)
        arguments += [tag, lists.index(name) + 1, raw]
    return int(broker.server.run("reclaim_unacked", [LOCK, *unacked_keys(broker.endpoint), *lists], arguments))
