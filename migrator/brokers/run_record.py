"""What a broker says about the run on a plan: whose it is, on which machine its journal lies, and who is at it now.

It lies on the unified broker from the first action of a run until the run is rolled back or completed. Who is at a run
holds a lease on it, which ends by itself some time after its holder was last heard of.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

#: How long a lease outlives the last sign of its holder.
LEASE_S = 30.0


class RunOwner(msgspec.Struct, frozen=True, kw_only=True):
    """The run on a plan."""

    #: Id of the state folder with its journal, and where that is.
    folder_id: str
    folder: str
    host: str
    user: str
    pid: int
    command: str
    #: When the command began.
    since: str
    #: Fencing token: whoever takes the lease writes another, and the one before can't renew its own any more.
    token: str
    run: int = 0
    state: str = ""
    #: Lines of the journal: a copy of the folder that has fewer is not the latest.
    lines: int = 0
    #: False where the command has come to its end.
    under_way: bool = True

    @property
    def who(self) -> str:
        """Who began the command, where and when."""
        return f"{self.user} on {self.host}, pid {self.pid}, {self.command}, since {self.since}"


class RunStore(Protocol):
    """The record of one plan on one broker, and the lease on it."""

    where: str

    def read(self) -> tuple[RunOwner | None, float]:
        """Return the record, and how many seconds its lease lasts; changes nothing."""

    def replace(self, token: str, record: RunOwner | None, *, lease: bool) -> bool:
        """Write a record in one step, or delete it with None, if the one with this token is there.

        Args:
            token: Of the record that is replaced; empty if there must be none.
            record: The new one.
            lease: Take the lease, or renew it; otherwise it ends.

        Returns:
            False if another record is there, or somebody else has the lease.
        """

    def close(self) -> None:
        """Close the connection; on RabbitMQ the lease ends with it."""
