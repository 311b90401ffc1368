"""Does every waiting message have a place to go? A dry run of the transfer says so, without moving one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from migrator.brokers.rabbitmq.server_checks import CONSUMER_TIMEOUT_S
from migrator.errors import MigratorError
from migrator.report import Finding, Report
from migrator.steps.guards.worker_probe import on_redis
from migrator.steps.protocol import Context, error, findings_report, warning
from migrator.transfer.options import TransferOptions, TransferReport
from migrator.transfer.transfer import transfer
from migrator.wire.quarantined import ADVICE
from migrator.workers.probe import releases_parked

#: Findings of the transfer that are said here with more weight, or that the stop of the workers settles.
SAID_HERE = frozenset({"TRANSFER-ETA", "TRANSFER-PARKED", "TRANSFER-CLAIMED"})


def guard(context: Context) -> Report:
    """Return which messages would be quarantined, and whether one waits longer than the broker allows."""
    tasks = frozenset(context.options.tasks)
    # Workers go on running beside single tasks, and what they hold stays with them.
    options = TransferOptions(tasks=tasks, dry_run=True, consumers_stopped=not tasks, park=True)
    try:
        plan = transfer(context.plan, environ=context.environ, options=options)
        if plan.parked and not releases_parked(context.plan, environ=context.environ):
            away_s = plan.longest_eta_s
            plan = transfer(context.plan, environ=context.environ, options=replace(options, park=False))
            plan = replace(plan, longest_eta_s=away_s)
    except MigratorError as failure:
        finding = error("MESSAGES-UNREADABLE", failure.where, failure.what, found=failure.found, remedy=failure.remedy)
        return findings_report("messages", [finding])
    others = (finding for finding in plan.findings if finding.code not in SAID_HERE)
    findings = [*_kept(plan), *_going_on(plan), *_eta(context, plan), *others]
    return findings_report(
        "messages",
        findings,
        would_move=plan.moved,
        would_quarantine=plan.quarantined,
        by_task=dict(plan.by_task),
    )


def _kept(plan: TransferReport) -> Iterator[Finding]:
    for reason, count in plan.reasons.items():
        yield warning(
            "MESSAGES-QUARANTINED",
            "waiting messages",
            f"{count} will be quarantined",
            found=str(reason),
            remedy=f"they are kept, and come back with a rollback; {ADVICE[reason]}",
        )


def _going_on(plan: TransferReport) -> Iterator[Finding]:
    for name, count in plan.goes_on.items():
        yield error(
            "MESSAGES-GO-ON",
            "waiting messages",
            f"{count} of tasks that stay send {name} next, which no legacy worker knows afterwards",
            remedy="wait until they have run; if there are always some, take the tasks that send it into the scope",
        )


def _eta(context: Context, plan: TransferReport) -> Iterator[Finding]:
    """Say what becomes of messages that are due later than a worker may hold them: three different things."""
    found = f"visibility timeout {context.plan.unified.visibility_timeout_s:g} s"
    if plan.parked:
        what = f"{plan.parked} are due late; they wait beside the queue until the unified workers release them in time"
        yield warning("ETA-PARKED", "waiting messages", what, found=found)
    if not plan.beyond_visibility:
        return
    what = f"{plan.beyond_visibility} are due later than a worker may hold them"
    if not on_redis(context):
        # On RabbitMQ nothing is parked, and what the server's settings say can't be asked.
        what += ": RabbitMQ closes its channel and delivers them again"
        found = f"consumer_timeout {CONSUMER_TIMEOUT_S:g} s unless the server's settings say else"
        remedy = "raise consumer_timeout in rabbitmq.conf above the longest ETA"
        yield warning("ETA-BEYOND-CONSUMER-TIMEOUT", "waiting messages", what, found=found, remedy=remedy)
        return
    what += ", and the unified workers have no part that releases parked ones"
    remedy = (
        f"raise visibility_timeout in the broker's transport options above {plan.longest_eta_s:,.0f} s and write it as "
        "visibility_timeout_s under [unified], or cut over when they have run"
    )
    yield error("ETA-BEYOND-VISIBILITY", "waiting messages", what, found=found, remedy=remedy)
