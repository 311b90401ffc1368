"""Count what a transfer did, and build its report with findings."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from migrator.brokers.redis.dramatiq import DramatiqRedis
from migrator.report import Finding, Severity
from migrator.transfer.batch import Work
from migrator.transfer.connections import Connections
from migrator.transfer.options import MOST_RECORDS, Direction, QuarantineRecord, Tally, TransferOptions, TransferReport
from migrator.translation.result import Translated
from migrator.wire.message import Side, State, System
from migrator.wire.quarantined import QuarantineReason

#: In larger queues orphans are only counted: naming them means reading every id.
_MOST_NAMED = 100_000


def count(tally: Tally, work: Work, *, beyond_ms: float) -> None:
    """Add a batch that was applied.

    Args:
        tally: The counts so far.
        work: The batch.
        beyond_ms: The latest ETA that a queue can hold, in milliseconds since the epoch.
    """
    number = len(work.batch.items)
    address, system = str(work.batch.address), work.batch.address.system
    tally.seen += number
    tally.resumed += number if work.batch.resumed else 0
    tally.moved += len(work.translated) - work.refused
    tally.already_there += work.refused + work.arrived
    tally.without_body += work.without_body
    tally.filtered_out += len(work.filtered)
    tally.stays.update(work.stays)
    tally.parked += work.parked
    tally.quarantined += len(work.quarantined)
    by_task = tally.by_task
    for translated in work.translated:
        by_task[translated.source_task] = by_task.get(translated.source_task, 0) + 1
        if translated.eta_ms is not None or translated.dropped:
            note(tally, translated, beyond_ms=beyond_ms)
    tally.by_queue[address] = tally.by_queue.get(address, 0) + len(work.translated)
    for (identity, _), quarantined in work.quarantined:
        tally.beyond_visibility += quarantined.reason is QuarantineReason.DUE_LATE
        tally.reasons[quarantined.reason.value] = tally.reasons.get(quarantined.reason.value, 0) + 1
        if len(tally.quarantined_messages) < MOST_RECORDS:
            tally.quarantined_messages.append(
                QuarantineRecord(
                    id=quarantined.id,
                    copy_id=identity.decode(errors="surrogateescape"),
                    task=quarantined.task,
                    queue=work.batch.address.wire_queue,
                    system=system,
                    reason=quarantined.reason.value,
                    detail=quarantined.detail,
                )
            )


def note(tally: Tally, translated: Translated, *, beyond_ms: float) -> None:
    """Count what is unusual about a translated message."""
    if translated.eta_ms is not None:
        tally.beyond_visibility += translated.address.system is System.CELERY and translated.eta_ms > beyond_ms
        tally.longest_eta_ms = max(tally.longest_eta_ms, translated.eta_ms)
    for option in translated.dropped:
        tally.dropped_options[option] = tally.dropped_options.get(option, 0) + 1


def build_report(connections: Connections, options: TransferOptions, tally: Tally, started_at: float) -> TransferReport:
    """Return the report of a finished run."""
    elapsed_s = time.monotonic() - started_at
    left = left_behind(connections, options.direction)
    return TransferReport(
        direction=options.direction,
        dry_run=options.dry_run,
        seen=tally.seen,
        moved=tally.moved,
        quarantined=tally.quarantined,
        already_there=tally.already_there,
        without_body=tally.without_body,
        filtered_out=tally.filtered_out,
        stays=_frozen(tally.stays),
        goes_on=_frozen(tally.goes_on),
        resumed=tally.resumed,
        reclaimed=tally.reclaimed,
        restored=tally.restored,
        by_task=_frozen(tally.by_task),
        by_queue=_frozen({address: number for address, number in tally.by_queue.items() if number}),
        reasons=_frozen(tally.reasons),
        quarantined_messages=tuple(tally.quarantined_messages),
        examples=MappingProxyType({}),
        dropped_options=_frozen(tally.dropped_options),
        beyond_visibility=tally.beyond_visibility,
        parked=tally.parked,
        released=tally.released,
        longest_eta_s=_away_s(connections, tally),
        left=left,
        findings=(
            *findings(connections, options, tally, left),
            *_orphans(connections),
            *(found for server in connections.servers.values() for found in server.findings(tally.reconnects)),
        ),
        elapsed_s=elapsed_s,
        rate=tally.seen / elapsed_s if elapsed_s else 0.0,
        reconnects=tally.reconnects,
        balance=tally.balance,
    )


def left_behind(connections: Connections, direction: Direction) -> Mapping[str, int]:
    """Return how many messages are still on the emptied side, by ``system:queue state``; zeros are left out."""
    side = Side.LEGACY if direction is Direction.FORWARD else Side.UNIFIED
    return _frozen(
        {
            f"{system.value}:{queue} {state.value}": number
            for (broker_side, system), broker in connections.brokers.items()
            if broker_side is side
            for (queue, state), number in broker.depths().items()
            if number
        }
    )


def findings(
    connections: Connections, options: TransferOptions, tally: Tally, left: Mapping[str, int]
) -> Iterator[Finding]:
    """Yield the findings of a run."""
    if options.direction is Direction.FORWARD:
        yield from _late(connections, tally)
    claimed = {address: number for address, number in left.items() if address.endswith(f" {State.CLAIMED.value}")}
    if claimed:
        yield Finding(
            code="TRANSFER-CLAIMED",
            severity=Severity.WARNING,
            where=", ".join(claimed),
            what="workers have taken messages that were not moved",
            found=f"{sum(claimed.values())} messages",
            remedy="stop those workers, which returns them; if they have died: `migrator transfer --take-claimed`",
        )
    if tally.dropped_options:
        yield Finding(
            code="TRANSFER-OPTIONS",
            severity=Severity.WARNING,
            where="messages",
            what="options without a counterpart in Celery have no effect there",
            found=", ".join(f"{name} ({number})" for name, number in sorted(tally.dropped_options.items())),
            remedy="nothing if they had no effect before; the originals are kept for a transfer back",
        )
    if tally.balance:
        yield Finding(
            code="TRANSFER-BALANCE",
            severity=Severity.ERROR,
            where="transfer",
            what="some messages are unaccounted for",
            found=f"{tally.balance} of {tally.seen}",
            remedy="run the same command again: claims on the server are finished first",
        )


def _late(connections: Connections, tally: Tally) -> Iterator[Finding]:
    limit_s = connections.longest_eta_s
    where = f"unified.{connections.plan.unified.queues[0]}"
    timeout = f"visibility timeout {limit_s:g} s"
    if tally.beyond_visibility and connections.unified_on_rabbitmq:
        yield Finding(
            code="TRANSFER-ETA",
            severity=Severity.WARNING,
            where=where,
            what="a worker holds a message until its ETA, and RabbitMQ closes its channel (406) after consumer_timeout",
            found=f"{tally.beyond_visibility} messages, timeout {limit_s:g} s as far as AMQP shows",
            remedy="raise consumer_timeout in rabbitmq.conf above the longest ETA",
        )
    elif tally.beyond_visibility:
        yield Finding(
            code="TRANSFER-ETA",
            severity=Severity.WARNING,
            where=where,
            what="ETAs are later than the visibility timeout: Celery would run those messages several times, and the "
            "unified workers have no part that releases parked ones",
            found=f"{tally.beyond_visibility} messages quarantined, {timeout}",
            remedy="raise visibility_timeout in the workers' broker_transport_options and under [unified] in the plan, "
            "then `migrator transfer --retry-quarantined`",
        )
    if tally.parked:
        yield Finding(
            code="TRANSFER-PARKED",
            severity=Severity.INFO,
            where=where,
            what="messages that are due late are parked until the unified workers release them",
            found=f"{tally.parked} messages, up to {_away_s(connections, tally):.0f} s away, {timeout}",
        )


def _away_s(connections: Connections, tally: Tally) -> float:
    return max(0.0, (tally.longest_eta_ms - connections.now_ms()) / 1000) if tally.longest_eta_ms else 0.0


def _orphans(connections: Connections) -> Iterator[Finding]:
    """Yield a finding for each queue whose hash holds messages that nothing names."""
    for broker in connections.brokers.values():
        if not isinstance(broker, DramatiqRedis):
            continue
        counted = {f"dramatiq:{queue}": number for queue, number in broker.unaccounted().items() if number > 0}
        found: dict[str, list[str]] = {where: [] for where in counted}
        if counted and max(broker.depths().values()) < _MOST_NAMED:
            for address, copy_id, _ in broker.orphans():
                found.setdefault(str(address), []).append(copy_id)
        for where, ids in found.items():
            yield Finding(
                code="TRANSFER-ORPHANS",
                severity=Severity.WARNING,
                where=where,
                what="the queue holds messages that neither its list nor any worker names, so nothing will run them",
                found=f"{len(ids) or counted.get(where)} messages{''.join(f', {name}' for name in ids[:3])}",
                remedy="a worker just taking messages can look like this: run again; if they stay, see RUNBOOK.md",
            )


def _frozen(counts: Mapping[str, int]) -> Mapping[str, int]:
    return MappingProxyType(dict(sorted(counts.items())))
