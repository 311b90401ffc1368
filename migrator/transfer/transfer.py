"""Move queued messages forward or back: the entry point for every combination of brokers."""

from __future__ import annotations

from collections.abc import Mapping

from migrator.events import Listener, ignore
from migrator.plan.model import Plan
from migrator.transfer.connections import Connections, open_connections
from migrator.transfer.dry_run import preview
from migrator.transfer.ledger import Ledger
from migrator.transfer.malloc import keep_freed_memory
from migrator.transfer.options import ShouldStop, TransferOptions, TransferReport
from migrator.transfer.preconditions import guard
from migrator.transfer.run import Run
from migrator.transfer.selection import check_names, translators


def transfer(
    plan: Plan,
    *,
    environ: Mapping[str, str],
    options: TransferOptions | None = None,
    listener: Listener = ignore,
    should_stop: ShouldStop | None = None,
) -> TransferReport:
    """Move waiting messages between the legacy queues and the unified one.

    Args:
        plan: The plan.
        environ: Fills the references in the plan's URLs.
        options: What to move and how; everything forward if None.
        listener: Receives progress events.
        should_stop: Called between batches; a true result ends the run cleanly.

    Raises:
        UsageError: The options name a task or queue that the plan does not have.
        UnreachableError: A server does not answer.
        ForgottenError: A server has forgotten what it had confirmed, to this run or to an earlier one.
        RefusedError: A check forbids it; nothing of the batch in question was changed.
        InterruptedRunError: Another run took over.
    """
    options = options or TransferOptions()
    check_names(plan, options)
    keep_freed_memory()
    connections = open_connections(plan, environ)
    try:
        guard(connections, options)
        connections.allow_parking(parks=options.park)
        if options.dry_run:
            return preview(connections, options, translators(connections))
        return _run(connections, options, listener, should_stop or (lambda: False))
    finally:
        connections.close()


def _run(
    connections: Connections, options: TransferOptions, listener: Listener, should_stop: ShouldStop
) -> TransferReport:
    with (
        connections.locked(wait_s=options.lock_wait_s, takeover=options.takeover),
        Ledger.open(connections.plan.state_folder / "book.sqlite3") as book,
    ):
        connections.recall(None if options.accept_forgotten else book)
        connections.begin()
        run = Run(connections=connections, options=options, book=book, listener=listener, should_stop=should_stop)
        return run.execute()
