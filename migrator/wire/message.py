"""One queued call, independent of any library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class System(StrEnum):
    """The system whose wire format a message has, whatever side of the migration it is on."""

    DRAMATIQ = "dramatiq"
    CELERY = "celery"


class State(StrEnum):
    """The state of a message in its broker."""

    #: In a queue, may run now.
    READY = "ready"
    #: In a queue, may run later (Dramatiq's ``.DQ``, Celery's ETA).
    DELAYED = "delayed"
    #: Beside the unified queue, due too late for it.
    PARKED = "parked"
    #: Taken by a worker and not finished (Dramatiq's acks, Celery's unacked).
    CLAIMED = "claimed"
    #: Given up (Dramatiq's ``.XQ``).
    DEAD = "dead"
    #: Taken by the transfer and not yet at its destination.
    MOVING = "moving"
    #: Set aside by the transfer with a reason; restored by a rollback.
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One queued call.

    Two legal copies of one message may share ``id``; ``copy_id`` tells them apart.
    """

    #: Dramatiq's ``message_id``, Celery's task id.
    id: str
    #: Dramatiq's ``redis_message_id``, Celery's ``delivery_tag``: one per copy, the key for accounting.
    copy_id: str
    system: System
    #: Actor name or registered task name.
    task: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    #: Canonical queue name, without ``.DQ`` and without a priority suffix.
    queue: str
    state: State = State.READY
    #: Aware UTC; None means now.
    eta_at: datetime | None = None
    #: Aware UTC; None means never.
    expires_at: datetime | None = None
    #: Aware UTC; None where the format does not record it (Celery).
    enqueued_at: datetime | None = None
    #: Retries already used: 0 on the first run, in both systems.
    attempts: int = 0
    #: The number on the wire, in the direction of its own broker; None if absent.
    priority: int | None = None
    #: Kinds of links to other calls: ``pipe``, ``group``, ``callback``, ``chord``.
    links: tuple[str, ...] = ()
    #: The original bytes.
    raw: bytes = b""


class Side(StrEnum):
    """The system before the migration, or after it."""

    LEGACY = "legacy"
    UNIFIED = "unified"
