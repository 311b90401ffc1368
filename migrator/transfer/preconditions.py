"""What a transfer checks before it begins: the servers, and the memory that the messages need."""

from __future__ import annotations

from migrator.errors import RefusedError
from migrator.report import Severity
from migrator.transfer.connections import Connections
from migrator.transfer.options import Direction, TransferOptions
from migrator.transfer.selection import is_selected
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
        if broker.endpoint.side is Side.UNIFIED and facts.visibility_timeout_s:
            connections.consumer_timeout_s = facts.visibility_timeout_s
    if options.direction is Direction.BACK or options.dry_run:
        return
    destination = connections.server_of(connections.plan.unified)
    headroom = used.get(destination.identity)
    if headroom is None:
        return
    wanted = (reader for reader in connections.readers(Side.LEGACY) if is_selected(options, reader.address))
    needed = sum(reader.memory() for reader in wanted) * _GROWTH
    if needed > headroom:
        raise RefusedError(
            destination.where,
            "the server's memory limit leaves too little room for the messages",
            found=f"about {int(needed) >> 20} MiB needed, {headroom >> 20} MiB left",
            remedy="raise maxmemory, or transfer queue by queue with a worker running",
        )
