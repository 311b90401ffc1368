"""A queue that holds messages of one format."""

from __future__ import annotations

import msgspec

from migrator.wire.message import Side, System


class QueueAddress(msgspec.Struct, frozen=True, gc=False):
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
