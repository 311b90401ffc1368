"""Do the brokers answer, and can they be trusted with the messages while these move?"""

from __future__ import annotations

from collections.abc import Iterator

from migrator.brokers.clock import SKEW_ERROR_S, SKEW_WARNING_S
from migrator.brokers.connect import connect
from migrator.brokers.protocol import BrokerFacts
from migrator.errors import MigratorError
from migrator.report import Finding, Report, Severity
from migrator.steps.protocol import Context, error, findings_report

#: A unified envelope takes about this many times the memory of a Dramatiq message (measured).
GROWTH = 3.5
#: Bytes of one waiting message until it is known better.
MESSAGE_BYTES = 500


def guard(context: Context) -> Report:
    """Return what every broker says about itself, each server once."""
    findings: list[Finding] = []
    servers: dict[str, str] = {}
    endpoints = (*context.plan.legacy, context.plan.unified)
    for endpoint in endpoints:
        try:
            broker = connect(endpoint, context.environ)
            try:
                facts = broker.facts()
                waiting = sum(broker.depths().values())
            finally:
                broker.close()
        except MigratorError as failure:
            findings.append(
                error("BROKER-UNREACHABLE", failure.where, failure.what, found=failure.found, remedy=failure.remedy)
            )
            continue
        findings += [finding for finding in facts.findings if finding not in findings]
        findings += [finding for finding in _clock(facts) if finding not in findings]
        servers[f"{endpoint.side.value}.{endpoint.system.value}"] = f"{facts.server} at {facts.where}"
        needed = int(waiting * MESSAGE_BYTES * GROWTH)
        if facts.headroom_bytes is not None and facts.headroom_bytes < needed:
            findings.append(
                error(
                    "BROKER-MEMORY",
                    facts.where,
                    f"{waiting} messages need about {needed // 1024} KiB while they move",
                    found=f"{facts.headroom_bytes // 1024} KiB are free under maxmemory",
                    remedy="raise maxmemory",
                )
            )
    return findings_report("brokers", findings, checked=len(endpoints), servers=servers)


def _clock(facts: BrokerFacts) -> Iterator[Finding]:
    """Compare this machine's clock with the server's: workers that run here decide by ours whether an ETA is past."""
    ahead_s = facts.clock_ahead_s or 0.0
    if abs(ahead_s) < SKEW_WARNING_S:
        return
    wrong = "late" if ahead_s > 0 else "early"
    yield Finding(
        code="CLOCK-SKEW",
        severity=Severity.ERROR if abs(ahead_s) >= SKEW_ERROR_S else Severity.WARNING,
        where=facts.where,
        what=f"its clock and this machine's differ: delayed tasks of workers that run here begin {wrong}",
        found=f"this machine's is {abs(ahead_s):,.0f} s {'behind' if ahead_s > 0 else 'ahead'}",
        remedy="let one time server set both (`timedatectl` shows whether it does), then run the same command again",
    )
