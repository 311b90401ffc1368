"""Keys and arguments of the scripts that push a batch to another server, or apply it on its own.

On the server that holds the claim, a whole batch is applied by one script: copies first, then deletions. What goes to
another server is pushed there first, with the ledger as proof (see ``brokers/redis/scripts/push.lua``).
"""

from __future__ import annotations

import itertools
import uuid
from typing import Any

from migrator.brokers.redis.keys import LEDGER, RedisQueue
from migrator.brokers.redis.pipeline import Push
from migrator.brokers.redis.quarantine import quarantine_entry
from migrator.transfer.batch import Group, Item, Work
from migrator.transfer.lock import LIFE_MS
from migrator.wire.quarantined import Quarantined

#: One operation of ``apply.lua``: command, key, type of the key, arguments.
Operation = tuple[str, str, str, list[Any]]
#: The messages to push, and the keys and arguments of the script that goes with them.
Request = tuple[list[Push], list[Any], list[Any]]

_numbers = (f"{uuid.uuid4().hex[:12]}{number:x}" for number in itertools.count())


def bodies_of(name: str) -> str:
    """Return the hash of bodies beside one of Dramatiq's lists."""
    return f"{name}.msgs"


def push_request(groups: dict[str, Group], *, token: str, stamp: str) -> tuple[list[Any], list[Any]]:
    """Return keys (without the fence) and arguments of ``push.lua`` for one other server."""
    keys: list[Any] = [LEDGER]
    arguments: list[Any] = [token, LIFE_MS, stamp, len(groups)]
    for group in groups.values():
        keys.append(group.name)
        number, bodies = len(keys) - 1, 0
        if group.kind == "hash":
            keys.append(bodies_of(group.name))
            bodies = len(keys) - 1
        arguments += [group.kind, number, bodies, len(group.messages)]
        arguments += group.entries
        arguments += group.keys
        arguments += group.messages
    return keys, arguments


def note_request(groups: dict[str, Group], *, token: str, stamp: str) -> Request | None:
    """Return the request for a server where nothing has arrived yet (``note.lua``); None if not all are lists."""
    if any(group.kind != "list" for group in groups.values()):
        return None
    arguments: list[Any] = [token, LIFE_MS, stamp, len(groups)]
    for group in groups.values():
        arguments += (len(group.messages), group.messages[-1], *group.entries)
    pushes = [(group.name, group.messages) for group in groups.values()]
    return pushes, [LEDGER, *groups], arguments


def apply_request(
    queue: RedisQueue, quarantine: str, work: Work, groups: dict[str, Group], *, claimed: int, token: str
) -> Request:
    """Return the messages to push, and keys (without the fence) and arguments of ``apply.lua``, which runs after them.

    Args:
        queue: The queue.
        quarantine: The hash of its endpoint's quarantined messages.
        work: The batch; what goes to other servers has arrived there.
        groups: What stays on this server.
        claimed: How many entries the claim holds now.
        token: The token of the lock.
    """
    operations, pushes = _home_operations(groups)
    if work.quarantined:
        entries = itertools.chain.from_iterable(_quarantined(queue, *one) for one in work.quarantined)
        operations.append(("HSET", quarantine, "hash", list(entries)))
    if work.filtered:
        left = [identity if queue.bodies else raw for identity, raw in work.filtered]
        operations.append(("RPUSH", queue.filtered_out, "list", left))
    gone = _gone(queue, work)
    if gone:
        operations.append(("HDEL", queue.bodies, "hash", gone))
    if work.forget:
        operations.append(("HDEL", LEDGER, "hash", work.forget))
    keys: list[Any] = [queue.claim]
    arguments: list[Any] = [token, LIFE_MS, claimed, len(work.batch.items), len(operations)]
    for command, key, kind, values in operations:
        keys.append(key)
        if values is gone and not work.filtered:
            # Every message that leaves the claim: the script reads their ids from the claim itself.
            arguments += [command, len(keys) - 1, kind, "claimed"]
        else:
            arguments += [command, len(keys) - 1, kind, len(values)]
            arguments += values
    return pushes, keys, arguments


def _gone(queue: RedisQueue, work: Work) -> list[bytes]:
    """Return the ids whose bodies are deleted."""
    if not queue.bodies:
        return []
    left = {identity for identity, _ in work.filtered}
    return [identity for identity, _ in work.batch.items if identity not in left]


def _quarantined(queue: RedisQueue, item: Item, quarantined: Quarantined) -> tuple[bytes, bytes]:
    copy_id = item[0].decode(errors="surrogateescape")
    return quarantine_entry(queue, copy_id, next(_numbers), quarantined, item[1] or b"")


def _home_operations(groups: dict[str, Group]) -> tuple[list[Operation], list[Push]]:
    """Return the operations and pushes for the server that holds the claim."""
    operations: list[Operation] = []
    pushes: list[Push] = []
    for group in groups.values():
        pairs = list(itertools.chain.from_iterable(zip(group.keys, group.messages, strict=True))) if group.keys else []
        if group.kind == "hash":
            operations.append(("HSET", bodies_of(group.name), "hash", pairs))
            operations.append(("RPUSH", group.name, "list", group.keys))
        elif group.kind == "zset":
            operations.append(("ZADD", group.name, "zset", pairs))
        else:
            pushes.append((group.name, group.messages))
            operations.append(("pushed", group.name, "list", [len(group.messages), group.messages[-1]]))
    return operations, pushes
