"""What a transfer checks before it begins: the servers, and the memory that the messages need."""

from __future__ import annotations

from migrator.brokers.redis.keys import RedisQueue
from migrator.errors import RefusedError
from migrator.report import Severity
from migrator.transfer.connections import Connections
from migrator.transfer.options import Direction, TransferOptions
from migrator.transfer.selection import selected_queues
from migrator.wire.message import Side

#: A translated message holds its original, escaped, inside Celery's envelope: about 3.5 times as large (measured).
_GROWTH = 3.5


def guard(connections: Connections, options: TransferOptions) -> None:
    """Refuse what could lose messages.

    Raises:
        RefusedError: A server evicts keys, is a replica or a cluster, or has too little memory left.
    """
    used: dict[str, int] = {}
    for broker in connections.brokers.values():
        facts = broker.facts()
        for finding in facts.findings:
            if finding.severity is Severity.ERROR:
                raise RefusedError(finding.where, finding.what, found=finding.found, remedy=finding.remedy)
        if facts.headroom_bytes is not None:
            used[facts.identity] = facts.headroom_bytes
    if options.direction is Direction.BACK or options.dry_run:
        return
    destination = connections.identities[Side.UNIFIED, connections.plan.unified.system]
    headroom = used.get(destination)
    if headroom is None:
        return
    needed = sum(_memory(connections, queue) for queue in selected_queues(connections, options)) * _GROWTH
    if needed > headroom:
        raise RefusedError(
            connections.servers[destination].where,
            "the server's memory limit leaves too little room for the messages",
            found=f"about {int(needed) >> 20} MiB needed, {headroom >> 20} MiB left",
            remedy="raise maxmemory, or transfer queue by queue with a worker running",
        )


def _memory(connections: Connections, queue: RedisQueue) -> int:
    """Return roughly how many bytes the messages of a queue take on their server."""
    server = connections.servers[connections.identity(queue.address)]
    with server.translated():
        return int(server.client.memory_usage(queue.bodies or queue.list, samples=50) or 0)
