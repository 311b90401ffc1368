"""Findings of a transfer over RabbitMQ, beyond those of every transfer."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from migrator.report import Finding, Severity
from migrator.transfer.options import TransferReport
from migrator.transfer.rabbitmq.connections import MixedConnections


def with_findings(report: TransferReport, mixed: MixedConnections, created: Collection[str]) -> TransferReport:
    """Return the report with the findings about RabbitMQ.

    Args:
        report: The report.
        mixed: The servers.
        created: Destination queues that were missing and were declared.
    """
    found = list(report.findings)
    if mixed.unified_on_rabbitmq():
        # The finding about the visibility timeout is true of Redis only.
        found = [finding for finding in found if finding.code != "TRANSFER-ETA"]
        found += _late(report, mixed)
    if created:
        found.append(
            Finding(
                code="TRANSFER-QUEUE-MADE",
                severity=Severity.WARNING,
                where=", ".join(sorted(created)),
                what="the queue was missing and was declared with its system's default arguments",
                found=f"{len(created)} queues",
                remedy="if workers are refused with 406, delete it while it is empty and let them declare it",
            )
        )
    found += _crashed(report, mixed)
    found += [finding for log in mixed.dedup_logs.values() for finding in log.findings]
    return replace(report, findings=tuple(found))


def _crashed(report: TransferReport, mixed: MixedConnections) -> Iterator[Finding]:
    where = ", ".join(sorted(server.where for server in mixed.rabbits.values()))
    if report.reconnects:
        yield Finding(
            code="TRANSFER-RECONNECTED",
            severity=Severity.WARNING,
            where=where,
            what=_reconnected(mixed.returned),
            found=f"{report.reconnects} times",
            remedy="if a broker crashed, compare the ids on both sides before workers are started",
        )
    elif mixed.returned:
        yield Finding(
            code="TRANSFER-RETURNED",
            severity=Severity.INFO,
            where=where,
            what="a broker redelivered messages that an interrupted run had moved; they were recognised",
            found=f"{mixed.returned} messages",
        )


def _reconnected(returned: int) -> str:
    if not returned:
        return "connections were lost; no message that had been moved was redelivered"
    return f"connections were lost; a broker redelivered {returned} messages that had been moved; they were recognised"


def _late(report: TransferReport, mixed: MixedConnections) -> Iterator[Finding]:
    if report.beyond_visibility:
        yield Finding(
            code="TRANSFER-ETA",
            severity=Severity.WARNING,
            where=f"unified.{mixed.whole.plan.unified.queues[0]}",
            what="a worker holds a message until its ETA, and RabbitMQ closes its channel (406) after consumer_timeout",
            found=f"{report.beyond_visibility} messages, timeout {mixed.consumer_timeout_s:g} s as far as AMQP shows",
            remedy="raise consumer_timeout in rabbitmq.conf above the longest ETA",
        )
