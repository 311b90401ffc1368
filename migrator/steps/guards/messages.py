"""Does every waiting message have a place to go? A dry run of the transfer says so, without moving one."""

from __future__ import annotations

from collections.abc import Iterator

from migrator.errors import MigratorError
from migrator.report import Finding, Report
from migrator.steps.protocol import Context, error, findings_report, warning
from migrator.transfer import transfer
from migrator.transfer_options import Direction, TransferOptions, TransferReport

#: Findings of the transfer that are said here with more weight, or that the stop of the workers settles.
SAID_HERE = frozenset({"TRANSFER-ETA", "TRANSFER-CLAIMED"})


def guard(context: Context) -> Report:
    """Return which messages would be kept back, and whether one waits longer than the broker allows."""
    tasks = frozenset(context.options.tasks)
    options = TransferOptions(direction=Direction.FORWARD, tasks=tasks, dry_run=True, owners_dead=True)
    try:
        plan = transfer(context.plan, environ=context.environ, options=options)
    except MigratorError as failure:
        finding = error("MESSAGES-UNREADABLE", failure.where, failure.what, found=failure.found, remedy=failure.remedy)
        return findings_report("messages", [finding])
    others = (finding for finding in plan.findings if finding.code not in SAID_HERE)
    findings = [*_kept(plan), *_eta(context, plan), *others]
    return findings_report(
        "messages",
        findings,
        would_move=plan.moved,
        would_keep=plan.kept,
        by_task=dict(plan.by_task),
    )


def _kept(plan: TransferReport) -> Iterator[Finding]:
    for reason, count in plan.reasons.items():
        yield warning(
            "MESSAGES-KEPT",
            "waiting messages",
            f"{count} will be kept back",
            found=str(reason),
            remedy="they stay safe and come back with a rollback",
        )


def _eta(context: Context, plan: TransferReport) -> Iterator[Finding]:
    limit_s = context.plan.unified.visibility_timeout_s
    if not plan.beyond_visibility:
        return
    found = f"visibility timeout {limit_s:g} s"
    remedy = "raise visibility_timeout in the broker's transport options and in the plan"
    if context.plan.project.install_package:
        what = f"{plan.beyond_visibility} are due later than a worker may hold them; they are parked until it may"
        yield warning("ETA-PARKED", "waiting messages", what, found=found, remedy=remedy)
        return
    # Only the installed unified app releases parked messages.
    what = f"{plan.beyond_visibility} are due later than a worker may hold them, and nothing here releases parked ones"
    yield error("ETA-BEYOND-VISIBILITY", "waiting messages", what, found=found, remedy=remedy)
