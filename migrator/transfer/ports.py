"""What the one engine of the transfer needs of a server: its lock, and a reader and a writer of its queues.

Whatever is begun is returned as a function that waits for its outcome, so a server works while the next batch is
translated. The order is the same everywhere: claim (on the source, under the lock), translate, push to other servers
with a ledger entry each, apply on the source (copies for the same server first, then deletions), deliver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from migrator.errors import MigratorError
from migrator.plan.model import Endpoint
from migrator.report import Finding
from migrator.transfer.batch import Batch, Group, Work
from migrator.wire.queue_address import QueueAddress

#: A batch ends before this many bytes, or some messages later.
BATCH_BYTES = 4 << 20


class QueueReader(Protocol):
    """Takes messages from one queue."""

    @property
    def address(self) -> QueueAddress:
        """The queue."""

    def waiting(self) -> int:
        """Return how many messages wait in the queue."""

    def memory(self) -> int:
        """Return roughly how many bytes the messages take on their server; 0 if that is not known."""

    def leftovers(self) -> Iterator[Batch]:
        """Yield what an interrupted run had claimed; each batch is applied before the next one is asked for."""

    def claim(self, size: int) -> Callable[[], Batch | None]:
        """Begin to claim messages, at most this many; None is the end of the queue."""

    def apply(self, work: Work) -> Callable[[], None]:
        """Begin to apply a batch: copies that stay on this server, then deletions; what went elsewhere has arrived."""

    def was_applied(self, work: Work) -> bool:
        """Say whether a batch was applied whose outcome got lost with a connection."""

    def restore_filtered(self) -> None:
        """Put filtered-out messages back where they were."""

    def close(self) -> None:
        """Take nothing more."""


class QueueWriter(Protocol):
    """Puts messages from other servers into the queues of one server, each at most once."""

    @property
    def delivers(self) -> bool:
        """Messages are put into their queues only when they are deleted at their source: one batch goes at a time."""

    def push(self, groups: dict[str, Group], *, is_new: bool) -> Callable[[], int]:
        """Begin to push messages with their ledger entries; the outcome is how many had arrived before.

        Args:
            groups: The messages.
            is_new: None of them can have arrived before.
        """

    def deliver(self) -> None:
        """Put what was pushed last into its queues, or all that has arrived; it must be deleted at its source."""


class Peers(Protocol):
    """All servers of a run together."""

    @property
    def remedy_if_forgotten(self) -> str:
        """What to do when a server has forgotten messages."""

    @property
    def token(self) -> str:
        """The token of the locks."""

    def keep_locks(self) -> None:
        """Extend every lock, if it is time."""

    def arrived_elsewhere(self, identity: str, entries: list[str]) -> set[str]:
        """Return which of these ledger entries are on any server but this one."""


class TransferServer(QueueWriter, Protocol):
    """One server of a plan while messages are transferred."""

    identity: str
    where: str

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What its library raises."""

    def lock(self, *, wait_s: float, takeover: bool) -> None:
        """Take the lock.

        Raises:
            RefusedError: Another run holds it.
        """

    @property
    def mark(self) -> str:
        """What the server must know from now on, as far as it has confirmed it; empty if it has no memory of ours."""

    def leave_mark(self) -> None:
        """Leave a new mark on the server."""

    def recall(self, mark: str = "") -> None:
        """Make sure that the server knows what it has confirmed to this run, and a mark of an earlier one.

        Raises:
            ForgottenError: It was restarted without its data, restored to an older state, failed over to a replica that
                lagged, or emptied.
        """

    def begin(self) -> None:
        """Look at what earlier runs have left, once every lock is ours."""

    def forget(self) -> None:
        """Invalidate what earlier runs have recorded: the messages are about to be replaced."""

    def reconnect(self) -> None:
        """After an error: connect again and make sure that the lock is still ours."""

    def keep_lock(self) -> None:
        """Extend the lock.

        Raises:
            InterruptedRunError: Another run has it, or has had it since.
        """

    def release(self) -> None:
        """Release the lock and drop what is in flight. Never raises."""

    def close(self) -> None:
        """Close the connections."""

    def is_transient(self, error: Exception) -> bool:
        """Say whether connecting again may help."""

    def failure(self, error: Exception, where: str) -> MigratorError:
        """Return an error of its library as one of ours."""

    def arrived(self, entries: list[str]) -> set[str]:
        """Return which of these ledger entries are here."""

    def readers(self, endpoint: Endpoint) -> tuple[QueueReader, ...]:
        """Return a reader of every queue of an endpoint, in the order in which they are emptied."""

    def restore_quarantined(self, endpoint: Endpoint) -> int:
        """Put quarantined messages back into the queues that they came from; return how many."""

    def reclaim(self, endpoint: Endpoint, queues: set[str], *, silence_s: float) -> int:
        """Return messages that stopped workers had claimed to their queues; return how many.

        Raises:
            RefusedError: A worker that should have stopped is alive.
        """

    def tidy(self) -> None:
        """End a run that has done everything."""

    def findings(self, reconnects: int) -> Iterator[Finding]:
        """Yield what is worth knowing about this run, which had to reconnect so often, on this server."""
