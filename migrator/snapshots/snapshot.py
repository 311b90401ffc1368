"""Write every message of a plan's endpoints to a file before the first move, and restore the file's content.

Shape: gzip of JSON Lines. The first line names format, plan and time; each further line holds up to 500 items of one
key (bytes as base64); the last line holds the number of lines and the SHA-256 of all lines before it. Mode 0600,
fsynced and renamed into place, so a file of that name is complete.

A restore verifies the file first and refuses queues that hold anything, unless it is told to replace them. Messages
that a worker had claimed are restored as waiting: their owners are gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from migrator.brokers.redis.celery import CeleryRedis
from migrator.brokers.redis.dramatiq import DramatiqRedis, acks_key
from migrator.brokers.redis.keys import (
    LEDGER,
    PARKED,
    celery_list,
    dramatiq_list,
    quarantine_key,
    sources,
    unacked_keys,
)
from migrator.errors import RefusedError, UsageError
from migrator.plan.model import Plan
from migrator.snapshots import rabbitmq
from migrator.state.snapshot_file import (
    FORMAT,
    SnapshotFacts,
    Writer,
    decoded,
    encoded,
    records,
    verify_snapshot,
    writing,
)
from migrator.transfer.connections import Connections, open_connections
from migrator.transfer.ledger import Ledger
from migrator.wire.message import Side
from migrator.wire.queue_address import QueueAddress

_PAGE = 500


def write_snapshot(
    plan: Plan, *, environ: Mapping[str, str], file: Path, accept_forgotten: bool = False, leaves_marks: bool = True
) -> SnapshotFacts:
    """Write all messages of the plan's endpoints to ``file``, and leave a mark on the servers that it is written.

    Args:
        plan: The plan.
        environ: Fills the references in the plan's URLs.
        file: The snapshot.
        accept_forgotten: A server may have forgotten messages since the last command.
        leaves_marks: Let the next command notice if a server forgets what is in the snapshot.

    Raises:
        ForgottenError: A server has.
        UnreachableError: A server does not answer.
        UsageError: The file can't be written.
    """
    connections = open_connections(plan, environ)
    try:
        if leaves_marks:
            with Ledger.open(plan.state_folder / "book.sqlite3") as book:
                connections.recall(None if accept_forgotten else book)
                connections.leave_marks(book)
        with writing(file) as writer:
            counts = _write_all(plan, connections, writer)
        connections.recall()
    finally:
        connections.close()
    facts = verify_snapshot(file)
    if dict(facts.by_endpoint) != counts:
        what = "the snapshot does not read back as it was written"
        raise UsageError(str(file), what, remedy="check the disk and write it again")
    return facts


def restore_snapshot(plan: Plan, *, environ: Mapping[str, str], file: Path, replace: bool = False) -> SnapshotFacts:
    """Restore the content of a snapshot. Workers have to be stopped.

    Args:
        plan: The plan it was written for.
        environ: Fills the references in the plan's URLs.
        file: The snapshot.
        replace: Empty the plan's queues first instead of refusing if they hold something. After an interruption,
            restore again with this option.

    Raises:
        UsageError: The file is damaged, belongs to another plan, or has queues that the plan no longer has.
        RefusedError: The queues are not empty.
        UnreachableError: A server does not answer.
    """
    facts = verify_snapshot(file)
    if facts.plan != plan.name:
        remedy = "name the plan that it was written for"
        raise UsageError(str(file), f"the snapshot belongs to the plan {facts.plan!r}", remedy=remedy)
    connections = open_connections(plan, environ)
    try:
        with connections.locked(wait_s=10):
            connections.forget()
            _restore(connections, file, replace=replace)
            with Ledger.open(plan.state_folder / "book.sqlite3") as book:
                connections.leave_marks(book)
    finally:
        connections.close()
    return facts


def _restore(connections: Connections, file: Path, *, replace: bool) -> None:
    by_name = {_name(broker): broker for broker in connections.brokers.values()}
    _refuse_unknown_queues(by_name, file)
    _clear_queues(connections, replace=replace)
    for record in records(file):
        broker = by_name.get(record.get("endpoint", ""))
        if broker is not None:
            with broker.server.translated():
                items = [decoded(item) for item in record["items"]]
                if record["kind"] == rabbitmq.KIND:
                    server: Any = connections.server_of(broker.endpoint)
                    rabbitmq.put(broker, record["key"], items, server.form_of)
                else:
                    _put(broker, record["kind"], record["key"], items)
                connections.keep_locks()


def _write_all(plan: Plan, connections: Connections, writer: Writer) -> dict[str, int]:
    created_at = datetime.now(UTC).isoformat(timespec="seconds")
    head = {"format": FORMAT, "version": 1, "plan": plan.name, "fingerprint": plan.fingerprint}
    writer.write({**head, "created_at": created_at})
    counts: dict[str, int] = {}
    for broker in connections.brokers.values():
        with broker.server.translated():
            for kind, key, items, is_messages in _content(broker):
                texts = [encoded(item) for item in items]
                record = {"endpoint": _name(broker), "kind": kind, "key": key, "items": texts}
                writer.write({**record, "counts": True} if is_messages else record)
                if is_messages:
                    counts[_name(broker)] = counts.get(_name(broker), 0) + len(items)
    return counts


_Part = tuple[str, str, list[tuple[Any, ...]], bool]


def _content(broker: Any) -> Iterator[_Part]:
    """Yield kind, key, items, and whether the items count as messages."""
    if rabbitmq.is_on_rabbitmq(broker):
        yield from rabbitmq.content(broker)
        return
    client, endpoint = broker.server.client, broker.endpoint
    is_dramatiq = isinstance(broker, DramatiqRedis)
    for redis_queue in sources(endpoint):
        for key in (redis_queue.list, redis_queue.claim, redis_queue.filtered_out):
            for start in range(0, client.llen(key), _PAGE):
                page = [(entry,) for entry in client.lrange(key, start, start + _PAGE - 1)]
                yield ("claimed" if key != redis_queue.list else "list"), redis_queue.list, page, not is_dramatiq
        if redis_queue.bodies:
            yield from _hash(client, redis_queue.bodies, counts=True)
    if isinstance(broker, DramatiqRedis):
        for queue in endpoint.queues:
            dead = f"{dramatiq_list(endpoint, queue)}.XQ"
            yield from _hash(client, f"{dead}.msgs", counts=True)
            yield from _zset(client, dead, counts=False)
        for owner in broker.owners():
            address = QueueAddress(endpoint.side, endpoint.system, owner.queue, owner.delayed)
            ids = sorted(client.smembers(acks_key(endpoint, owner.id, address)))
            yield "claimed", dramatiq_list(endpoint, address.wire_queue), [(identity,) for identity in ids], False
    else:
        for queue, _, raw, priority in broker.unacked():
            yield "claimed", celery_list(endpoint, queue, priority), [(raw,)], True
    yield from _hash(client, quarantine_key(endpoint), counts=True)
    if endpoint.side is Side.UNIFIED:
        yield from _zset(client, PARKED, counts=True)
    yield from _hash(client, LEDGER, counts=False)


def _hash(client: Any, key: str, *, counts: bool) -> Iterator[_Part]:
    # Names are not remembered, to save memory. A server that resizes its table meanwhile may return one twice:
    # restored, it is the same field, and only the count of messages is larger.
    page: dict[bytes, bytes] = {}
    for name, value in client.hscan_iter(key, count=_PAGE):
        page[name] = value
        if len(page) >= _PAGE:
            yield "hash", key, list(page.items()), counts
            page = {}
    if page:
        yield "hash", key, list(page.items()), counts


def _zset(client: Any, key: str, *, counts: bool) -> Iterator[_Part]:
    for start in range(0, client.zcard(key), _PAGE):
        page = client.zrange(key, start, start + _PAGE - 1, withscores=True)
        yield "zset", key, [(member, repr(score).encode()) for member, score in page], counts


def _put(broker: Any, kind: str, key: str, items: list[tuple[bytes, ...]]) -> None:
    if not items:
        return
    client = broker.server.client
    if kind == "hash":
        client.hset(key, mapping={name: value for name, value in items})  # noqa: C416 - pairs, as far as types go
    elif kind == "zset":
        client.zadd(key, {member: float(score) for member, score in items})
    elif kind == "list":
        client.rpush(key, *(entry for (entry,) in items))
    elif isinstance(broker, DramatiqRedis):
        # Claimed messages go to the end that is served first.
        client.lpush(key, *(entry for (entry,) in reversed(items)))
    else:
        client.rpush(key, *(entry for (entry,) in reversed(items)))


def _refuse_unknown_queues(by_name: Mapping[str, Any], file: Path) -> None:
    """Refuse messages of queues that nothing would read any more; leaving them out would be a loss."""
    on_redis = {name: broker for name, broker in by_name.items() if not rabbitmq.is_on_rabbitmq(broker)}
    known: dict[str, set[str]] = {}
    for name, broker in on_redis.items():
        with broker.server.translated():
            known[name] = set(_own_keys(broker))
    unknown: dict[str, int] = {}
    for record in records(file):
        name, key = record.get("endpoint", ""), record.get("key", "")
        if name and (name not in by_name or key not in known.get(name, {key})):
            unknown[f"{name} {key}"] = unknown.get(f"{name} {key}", 0) + len(record["items"])
    if unknown:
        raise UsageError(
            str(file),
            "the snapshot has queues that are not in the plan; it was written with another plan",
            found=", ".join(f"{name!r} {number}" for name, number in sorted(unknown.items())),
            remedy="restore with the plan as it was then: its brokers, queues, namespace and priority steps",
        )


def _clear_queues(connections: Connections, *, replace: bool) -> None:
    held = {
        f"{_name(broker)} {queue} {state.value}": number
        for broker in connections.brokers.values()
        for (queue, state), number in broker.depths().items()
        if number
    }
    if held and not replace:
        raise RefusedError(
            "queues",
            "the queues hold messages, and a restore would double those that are in the snapshot",
            found=", ".join(f"{name} {number}" for name, number in sorted(held.items())),
            remedy="migrator restore … --replace, if these may go",
        )
    for broker in connections.brokers.values():
        if rabbitmq.is_on_rabbitmq(broker):
            rabbitmq.make_room(broker)
            continue
        with broker.server.translated():
            for key in _own_keys(broker):
                broker.server.client.delete(key)
            if isinstance(broker, CeleryRedis):
                unacked, index = unacked_keys(broker.endpoint)
                for _, tag, _, _ in list(broker.unacked()):
                    broker.server.client.hdel(unacked, tag)
                    broker.server.client.zrem(index, tag)


def _own_keys(broker: Any) -> Iterator[str]:
    endpoint = broker.endpoint
    for redis_queue in sources(endpoint):
        yield from (
            key for key in (redis_queue.list, redis_queue.bodies, redis_queue.claim, redis_queue.filtered_out) if key
        )
    if isinstance(broker, DramatiqRedis):
        for queue in endpoint.queues:
            dead = f"{dramatiq_list(endpoint, queue)}.XQ"
            yield from (dead, f"{dead}.msgs")
        for owner in broker.owners():
            yield acks_key(endpoint, owner.id, QueueAddress(endpoint.side, endpoint.system, owner.queue, owner.delayed))
    yield from (quarantine_key(endpoint), LEDGER)
    if endpoint.side is Side.UNIFIED:
        yield PARKED


def _name(broker: Any) -> str:
    return f"{broker.endpoint.side.value}.{broker.endpoint.system.value}"
