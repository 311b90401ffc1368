"""What translating one queued message gives: carried, or kept back with a reason.

These are the values that pass between the translation (:mod:`migrator.translation.translators`), the brokers and the
transfer. They are msgspec structs, because one is made for every message, and the cycle collector need not look at
them: what they hold are texts, bytes and numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from migrator.wire.quarantined import Quarantined
from migrator.wire.queue_address import QueueAddress


class Translated(msgspec.Struct, frozen=True, gc=False):
    """A message in the form of its destination."""

    payload: bytes
    #: Where it goes.
    address: QueueAddress
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


Translation = Translated | Quarantined
#: Takes where a message lies, the id of its copy and its bytes.
Translator = Callable[[QueueAddress, str, bytes], Translation]


def ledger_entry(address: QueueAddress, copy_id: str) -> str:
    """Return the key of one copy in the ledger of its destination."""
    return f"{address}:{copy_id}"
