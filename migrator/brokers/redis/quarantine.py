"""Quarantined messages: a hash on the server that they came from, restored by a transfer back.

Shape of a field: ``<wire queue>|<copy id>|<number>``; of a value: one line of JSON (list, copy, reason, detail, task,
id, time), a newline, and the message's bytes as they were.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from migrator.brokers.redis.keys import RedisQueue, quarantine_key
from migrator.errors import RefusedError
from migrator.plan.model import Endpoint
from migrator.wire.message import State
from migrator.wire.quarantined import Quarantined, QuarantineReason


class _Head(msgspec.Struct, omit_defaults=True):
    list: str
    copy: str
    reason: QuarantineReason
    detail: str
    task: str
    id: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedMessage:
    """One quarantined message."""

    field: bytes
    #: The list it belongs to.
    list: str
    copy_id: str
    reason: QuarantineReason
    detail: str
    task: str
    id: str
    #: Seconds since the epoch.
    quarantined_at_s: float
    raw: bytes


def quarantine_entry(
    redis_queue: RedisQueue, copy_id: str, number: str, quarantined: Quarantined, raw: bytes
) -> tuple[bytes, bytes]:
    """Return field and value for one message."""
    field = f"{redis_queue.address.wire_queue}|{copy_id}|{number}".encode(errors="surrogateescape")
    head = _Head(
        list=redis_queue.list,
        copy=copy_id.encode(errors="backslashreplace").decode(),
        reason=quarantined.reason,
        detail=quarantined.detail.encode(errors="backslashreplace").decode()[:500],
        task=quarantined.task.encode(errors="backslashreplace").decode(),
        id=quarantined.id.encode(errors="backslashreplace").decode(),
        at=round(time.time(), 3),
    )
    return field, msgspec.json.encode(head) + b"\n" + raw


def read_quarantined(client: Any, endpoint: Endpoint) -> Iterator[QuarantinedMessage]:
    """Yield the messages that are quarantined on an endpoint's server; a field may come twice while the hash grows.

    Raises:
        RefusedError: An entry was not written by this tool.
    """
    for field, value in client.hscan_iter(quarantine_key(endpoint), count=200):
        line, _, raw = value.partition(b"\n")
        try:
            head = msgspec.json.decode(line, type=_Head)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            name = field.decode(errors="backslashreplace")
            raise RefusedError(
                f"{quarantine_key(endpoint)} {name}",
                "an entry among the quarantined messages was not written by this tool, or was changed",
                found=str(error),
                remedy="inspect it (HGET), then move it to another key; the other entries are intact",
            ) from None
        yield QuarantinedMessage(
            field=field,
            list=head.list,
            copy_id=field.partition(b"|")[2].rpartition(b"|")[0].decode(errors="surrogateescape"),
            reason=head.reason,
            detail=head.detail,
            task=head.task,
            id=head.id,
            quarantined_at_s=head.at,
            raw=raw,
        )


def count_quarantined(client: Any, endpoint: Endpoint) -> Counter[tuple[str, State]]:
    """Return how many messages of each queue are quarantined."""
    counts: Counter[tuple[str, State]] = Counter()
    known = sorted(endpoint.queues, key=len, reverse=True)
    for field in client.hscan_iter(quarantine_key(endpoint), count=1000):
        wire = field[0].split(b"|", 1)[0].decode(errors="replace")
        queue = next((name for name in known if wire in (name, f"{name}.DQ")), wire)
        counts[queue, State.QUARANTINED] += 1
    return counts
