"""Count what a transfer did, and say what a person should know about it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from migrator.brokers.redis.dramatiq import DramatiqRedis
from migrator.report import Finding, Severity
from migrator.transfer.batch import Work
from migrator.transfer.connections import Hub
from migrator.transfer.options import MOST_RECORDS, Direction, KeptRecord, Tally, TransferOptions, TransferReport
from migrator.translation.result import Carried
from migrator.wire.message import Side, State, System
from migrator.wire.quarantined import Reason

#: Of larger queues orphans are only counted: the server would be asked for every id.
_MOST_NAMED = 100_000


def count(tally: Tally, work: Work, *, beyond_ms: float) -> None:
    """Add a batch that was carried out.

    Args:
        tally: The counts so far.
        work: The batch.
        beyond_ms: A later ETA is too far away for a queue; milliseconds since the epoch.
    """
    number = len(work.batch.items)
    place = str(work.batch.source.place)
    tally.seen += number
    tally.resumed += number if work.batch.resumed else 0
    tally.moved += len(work.carried) - work.refused
    tally.already_there += work.refused + work.arrived
    tally.without_body += work.without_body
    tally.passed += work.passed
    tally.parked += work.parked
    tally.kept += len(work.kept)
    by_task = tally.by_task
    for carried in work.carried:
        by_task[carried.source_task] = by_task.get(carried.source_task, 0) + 1
        if carried.eta_ms is not None or carried.dropped:
            note(tally, carried, beyond_ms=beyond_ms)
    tally.by_queue[place] = tally.by_queue.get(place, 0) + len(work.carried)
    for copy_id, kept in work.kept:
        tally.beyond_visibility += kept.reason is Reason.DUE_LATE
        tally.reasons[kept.reason.value] = tally.reasons.get(kept.reason.value, 0) + 1
        if len(tally.kept_messages) < MOST_RECORDS:
            tally.kept_messages.append(
                KeptRecord(
                    id=kept.id,
                    copy_id=copy_id,
                    task=kept.task,
                    queue=work.batch.source.place.wire_queue,
                    system=work.batch.source.place.system,
                    reason=kept.reason.value,
                    detail=kept.detail,
                )
            )


def note(tally: Tally, carried: Carried, *, beyond_ms: float) -> None:
    """Take note of what is unusual about a carried message."""
    if carried.eta_ms is not None:
        tally.beyond_visibility += carried.place.system is System.CELERY and carried.eta_ms > beyond_ms
        tally.longest_eta_ms = max(tally.longest_eta_ms, carried.eta_ms)
    for option in carried.dropped:
        tally.dropped_options[option] = tally.dropped_options.get(option, 0) + 1


def build_report(hub: Hub, options: TransferOptions, tally: Tally, started_at: float) -> TransferReport:
    """Return the report of a run that has come to its end."""
    elapsed_s = time.monotonic() - started_at
    left = left_behind(hub, options.direction)
    return TransferReport(
        direction=options.direction,
        dry_run=options.dry_run,
        seen=tally.seen,
        moved=tally.moved,
        kept=tally.kept,
        already_there=tally.already_there,
        without_body=tally.without_body,
        passed=tally.passed,
        resumed=tally.resumed,
        adopted=tally.adopted,
        restored=tally.restored,
        by_task=_frozen(tally.by_task),
        by_queue=_frozen({place: number for place, number in tally.by_queue.items() if number}),
        reasons=_frozen(tally.reasons),
        kept_messages=tuple(tally.kept_messages),
        examples=MappingProxyType({}),
        dropped_options=_frozen(tally.dropped_options),
        beyond_visibility=tally.beyond_visibility,
        parked=tally.parked,
        released=tally.released,
        left=left,
        findings=tuple(findings(hub, options, tally, left)) + tuple(_orphans(hub)),
        elapsed_s=elapsed_s,
        rate=tally.seen / elapsed_s if elapsed_s else 0.0,
        reconnects=tally.reconnects,
        balance=tally.balance,
    )


def left_behind(hub: Hub, direction: Direction) -> Mapping[str, int]:
    """Return how many messages are still on the emptied side, by ``system:queue state``; nothing for zeros."""
    side = Side.LEGACY if direction is Direction.FORWARD else Side.UNIFIED
    return _frozen(
        {
            f"{system.value}:{queue} {state.value}": number
            for (broker_side, system), broker in hub.brokers.items()
            if broker_side is side
            for (queue, state), number in broker.depths().items()
            if number
        }
    )


def findings(hub: Hub, options: TransferOptions, tally: Tally, left: Mapping[str, int]) -> Iterator[Finding]:
    """Yield what a person should know."""
    if options.direction is Direction.FORWARD:
        yield from _late(hub, tally)
    claimed = {place: number for place, number in left.items() if place.endswith(f" {State.CLAIMED.value}")}
    if claimed:
        yield Finding(
            code="TRANSFER-CLAIMED",
            severity=Severity.WARNING,
            where=", ".join(claimed),
            what="workers have taken messages that were not moved",
            found=f"{sum(claimed.values())} messages",
            remedy="stop those workers, which gives them back; of dead ones: `migrator transfer --take-claimed`",
        )
    if tally.dropped_options:
        yield Finding(
            code="TRANSFER-OPTIONS",
            severity=Severity.WARNING,
            where="messages",
            what="options without a counterpart in Celery have no effect there",
            found=", ".join(f"{name} ({number})" for name, number in sorted(tally.dropped_options.items())),
            remedy="nothing if they had no effect before; the originals are kept for the way back",
        )
    if tally.balance:
        yield Finding(
            code="TRANSFER-BALANCE",
            severity=Severity.ERROR,
            where="transfer",
            what="the fate of some messages is unknown",
            found=f"{tally.balance} of {tally.seen}",
            remedy="run the same command again: claims on the server are finished first",
        )


def _late(hub: Hub, tally: Tally) -> Iterator[Finding]:
    limit_s = hub.plan.unified.visibility_timeout_s
    where = f"unified.{hub.plan.unified.queues[0]}"
    timeout, away_s = f"visibility timeout {limit_s:g} s", (tally.longest_eta_ms - hub.now_ms()) / 1000
    if tally.beyond_visibility:
        yield Finding(
            code="TRANSFER-ETA",
            severity=Severity.WARNING,
            where=where,
            what="ETAs lie further away than the visibility timeout; Celery would run those messages several times",
            found=f"{tally.beyond_visibility} messages kept back, {timeout}",
            remedy="raise visibility_timeout in the workers' broker_transport_options and under [unified] in the plan, "
            "then `migrator transfer --retry-kept`",
        )
    if tally.parked:
        yield Finding(
            code="TRANSFER-PARKED",
            severity=Severity.INFO,
            where=where,
            what="messages that are due late wait beside the queue until the unified workers take them in",
            found=f"{tally.parked} messages, up to {away_s:.0f} s away, {timeout}",
        )


def _orphans(hub: Hub) -> Iterator[Finding]:
    """Yield for each queue what its hash holds and nothing names."""
    for broker in hub.brokers.values():
        if not isinstance(broker, DramatiqRedis):
            continue
        counted = {f"dramatiq:{queue}": number for queue, number in broker.unaccounted().items() if number > 0}
        found: dict[str, list[str]] = {where: [] for where in counted}
        if counted and max(broker.depths().values()) < _MOST_NAMED:
            for place, copy_id, _ in broker.orphans():
                found.setdefault(str(place), []).append(copy_id)
        for where, ids in found.items():
            yield Finding(
                code="TRANSFER-ORPHANS",
                severity=Severity.WARNING,
                where=where,
                what="the queue holds messages that neither its list nor any worker names, so nobody runs them",
                found=f"{len(ids) or counted.get(where)} messages{''.join(f', {name}' for name in ids[:3])}",
                remedy="a worker that is just taking messages looks like this: run again; if they stay, see RUNBOOK.md",
            )


def _frozen(counts: Mapping[str, int]) -> Mapping[str, int]:
    return MappingProxyType(dict(sorted(counts.items())))
