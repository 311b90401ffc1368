"""Move queued messages forward or back: the entry point for every combination of brokers."""

from __future__ import annotations

from collections.abc import Mapping

from migrator.brokers.connect import has_rabbitmq
from migrator.events import Listener, ignore
from migrator.plan.model import Plan
from migrator.transfer.connections import open_connections
from migrator.transfer.malloc import keep_freed_memory
from migrator.transfer.options import ShouldStop, TransferOptions, TransferReport
from migrator.transfer.redis.run import transfer_on_redis
from migrator.transfer.selection import check_names


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
        RefusedError: A check forbids it; nothing of the batch in question was changed.
        InterruptedRunError: Another run took over.
    """
    options = options or TransferOptions()
    check_names(plan, options)
    keep_freed_memory()
    if has_rabbitmq(plan, environ):
        # Its libraries are only needed where there is a RabbitMQ.
        from migrator.transfer.rabbitmq.run import transfer_with_rabbitmq

        return transfer_with_rabbitmq(plan, environ, options, listener, should_stop or (lambda: False))
    return transfer_on_redis(open_connections(plan, environ), options, listener, should_stop or (lambda: False))
