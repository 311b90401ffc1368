"""The result of translating one queued message: translated, or quarantined with a reason.

These are the values that pass between the translation (:mod:`migrator.translation.translators`), the brokers and the
transfer. They are msgspec structs, because one is created for every message, and the garbage collector need not track
them: they hold only strings, bytes and numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from migrator.plan.model import Plan
from migrator.wire.message import System
from migrator.wire.quarantined import Quarantined
from migrator.wire.queue_address import QueueAddress


class Translated(msgspec.Struct, frozen=True, gc=False):
    """A message in the form of its destination."""

    #: Bytes; where it goes to RabbitMQ, the message of its library.
    payload: Any
    #: The queue that it goes to.
    address: QueueAddress
    #: Dramatiq's ``message_id``, Celery's task id; the same on both sides.
    id: str
    #: Task name on the side that it comes from.
    source_task: str
    #: Id of the copy that it was made from; together with the queue that it came from, the key for accounting.
    source_copy: str
    #: Id of the new copy: field of Dramatiq's hash, Celery's ``delivery_tag``.
    copy_id: str
    #: Celery: the number on the wire.
    priority: int = 0
    #: Milliseconds since the epoch; None means now.
    eta_ms: int | None = None
    #: Names of options without a counterpart at the destination; the original keeps them.
    dropped: tuple[str, ...] = ()
    #: Set on a transfer back: the ledger entry that the transfer forward wrote (see :func:`ledger_entry`).
    forget: str = ""


Translation = Translated | Quarantined
#: Takes the queue that a message is in, the id of its copy and its bytes.
Translator = Callable[[QueueAddress, str, bytes], Translation]


def destinations(plan: Plan) -> dict[str, QueueAddress]:
    """Return the queue of every unified task by its name."""
    queues = {name: QueueAddress(plan.unified.side, System.CELERY, name) for name in plan.unified.queues}
    return {task.name: queues[task.queue or plan.unified.queues[0]] for task in plan.tasks}


def ledger_entry(address: QueueAddress, copy_id: str) -> str:
    """Return the key of one copy in the ledger of its destination."""
    return f"{address}:{copy_id}"
