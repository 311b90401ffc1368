"""Do the brokers answer, and can they be trusted with the messages while these move?"""

from __future__ import annotations

from migrator.brokers import connect
from migrator.errors import MigratorError
from migrator.report import Finding, Report
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
