"""What translating one queued message gives: carried, or kept back with a reason.

These are the values that pass between the translation (:mod:`migrator.translate`), the brokers and the transfer.
They are msgspec structs, because one is made for every message, and the cycle collector need not look at them:
what they hold are texts, bytes and numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec

from migrator.message import System
from migrator.plan import Side


class Reason(StrEnum):
    """Why a message is kept back. Documented in RUNBOOK.md."""

    #: The plan neither maps nor retires the name.
    UNKNOWN_TASK = "unknown-task"
    #: The plan retires the task.
    RETIRED_TASK = "retired-task"
    #: Older than its age limit, or past its expiry, or it would be before its ETA.
    EXPIRED = "expired"
    #: Its ETA lies further away than the visibility timeout, and nothing in the plan releases parked messages.
    DUE_LATE = "due-late"
    #: The arguments do not fit the parameters that the plan names.
    ARGUMENTS = "arguments"
    #: A pipeline whose next step takes a result and arguments of its own.
    PIPELINE = "pipeline"
    #: A group with callbacks: its counter is shared by messages that may already have run.
    GROUP = "group"
    #: An ``on_success``, ``on_failure`` or ``on_retry_exhausted`` callback; Celery's take other arguments.
    CALLBACK = "callback"
    #: A chain, chord or callback with a part that the plan can't rename.
    CANVAS = "canvas"
    #: The body is no JSON by its own declaration; pickle is never loaded.
    CONTENT_TYPE = "content-type"
    #: The bytes can't be read as a message.
    UNREADABLE = "unreadable"
    #: Born unified, and no legacy call says the same.
    NO_LEGACY_FORM = "no-legacy-form"


class Place(msgspec.Struct, frozen=True, gc=False):
    """A queue that holds messages of one format."""

    side: Side
    system: System
    #: Canonical queue name.
    queue: str
    #: Dramatiq's ``.DQ``; Celery keeps delayed messages in the queue itself.
    delayed: bool = False

    @property
    def wire_queue(self) -> str:
        """The queue's name on the wire."""
        return f"{self.queue}.DQ" if self.delayed else self.queue

    def __str__(self) -> str:
        return f"{self.system.value}:{self.wire_queue}"


class Carried(msgspec.Struct, frozen=True, gc=False):
    """A message in the form of its destination."""

    payload: bytes
    #: Where it goes.
    place: Place
    #: Dramatiq's ``message_id``, Celery's task id; the same on both sides.
    id: str
    #: Name on the side it comes from.
    source_task: str
    #: Id of the copy that it was made from; with the place it came from it is the key for accounting.
    source_copy: str
    #: Id of the new copy: field of Dramatiq's hash, Celery's ``delivery_tag``.
    copy_id: str
    #: Celery: the number on the wire.
    priority: int = 0
    #: Milliseconds since the epoch; None means now.
    eta_ms: int | None = None
    #: Names of options that the destination has no counterpart for; the original keeps them.
    dropped: tuple[str, ...] = ()
    #: Set on the way back: the entry of the ledger that the way forward wrote (see :func:`ledger_entry`).
    forget: str = ""


class KeptBack(msgspec.Struct, frozen=True, gc=False):
    """A message that stays on its own side, with the reason."""

    reason: Reason
    #: One clause for a person.
    detail: str
    #: Name and id as far as they could be read.
    task: str = ""
    id: str = ""


Translation = Carried | KeptBack
#: Takes where a message lies, the id of its copy and its bytes.
Translator = Callable[[Place, str, bytes], Translation]


def ledger_entry(place: Place, copy_id: str) -> str:
    """Return the key of one copy in the ledger of its destination."""
    return f"{place}:{copy_id}"
