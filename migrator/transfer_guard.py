"""What a transfer looks at before it begins: what it would empty, and what forbids it."""

from __future__ import annotations

from migrator.brokers.redis_keys import Source
from migrator.errors import RefusedError, UsageError, did_you_mean
from migrator.plan import Plan, Side
from migrator.report import Severity
from migrator.transfer_hub import Hub
from migrator.transfer_options import Direction, TransferOptions

#: A carried message is its original, escaped, inside of Celery's envelope: about 3.5 times as large (measured).
_GROWTH = 3.5


def emptied_side(direction: Direction) -> Side:
    """Return the side from which a direction takes messages."""
    return Side.LEGACY if direction is Direction.FORWARD else Side.UNIFIED


def selected_sources(hub: Hub, options: TransferOptions) -> tuple[Source, ...]:
    """Return the lists that a run empties."""
    only_from = options.system if options.direction is Direction.FORWARD else None
    return tuple(
        source
        for source in hub.sources(emptied_side(options.direction))
        if (not options.queues or source.place.queue in options.queues)
        and (only_from is None or source.place.system is only_from)
    )


def check_names(plan: Plan, options: TransferOptions) -> None:
    """Refuse a filter that names what the plan does not: it would leave everything where it is.

    Raises:
        UsageError: There is no such task or queue.
    """
    tasks = {name for mapping in plan.mappings() for name in (mapping.name, mapping.unified)}
    tasks |= {task.name for task in plan.tasks} | {retired.name for retired in plan.retired}
    endpoints = plan.legacy if options.direction is Direction.FORWARD else (plan.unified,)
    queues = {queue for endpoint in endpoints for queue in endpoint.queues}
    for kind, wanted, known in (("task", options.tasks, tasks), ("queue", options.queues, queues)):
        for name in sorted(wanted - known):
            remedy = did_you_mean(name, known) or f"one of {', '.join(sorted(known))}"
            raise UsageError(f"--{kind} {name}", f"the plan has no such {kind} on the emptied side", remedy=remedy)


def guard(hub: Hub, options: TransferOptions) -> None:
    """Refuse what could lose messages.

    Raises:
        RefusedError: A server evicts keys, is a replica or a cluster, or has too little memory left.
    """
    used: dict[str, int] = {}
    for broker in hub.brokers.values():
        facts = broker.facts()
        for finding in facts.findings:
            if finding.severity is Severity.ERROR:
                raise RefusedError(finding.where, finding.what, found=finding.found, remedy=finding.remedy)
        if facts.headroom_bytes is not None:
            used[facts.identity] = facts.headroom_bytes
    if options.direction is Direction.BACK or options.dry_run:
        return
    destination = hub.identities[Side.UNIFIED, hub.plan.unified.system]
    headroom = used.get(destination)
    if headroom is None:
        return
    needed = sum(_memory(hub, source) for source in selected_sources(hub, options)) * _GROWTH
    if needed > headroom:
        raise RefusedError(
            hub.servers[destination].where,
            "the server's memory limit leaves too little room for the messages",
            found=f"about {int(needed) >> 20} MiB needed, {headroom >> 20} MiB left",
            remedy="raise maxmemory, or carry queue by queue with a worker running",
        )


def _memory(hub: Hub, source: Source) -> int:
    """Return how many bytes the messages of a list take on their server, about."""
    server = hub.servers[hub.identity(source.place)]
    with server.translated():
        return int(server.client.memory_usage(source.bodies or source.list, samples=50) or 0)
