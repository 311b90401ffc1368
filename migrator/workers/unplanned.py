"""Workers that are not as the plan says: too many of them, or silent. Findings of the preflight."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from migrator.inventory.deployment.command_words import option
from migrator.plan.model import Plan
from migrator.plan.processes import Driver, Process
from migrator.report import Finding, Severity
from migrator.workers.drivers import external
from migrator.workers.drivers.command import process_named
from migrator.workers.drivers.likeness import has_one_thread
from migrator.workers.drivers.process_record import read_record
from migrator.workers.start_stop import ProcessState


def replicas(
    plan: Plan, names: Collection[str], *, environ: Mapping[str, str]
) -> tuple[frozenset[str], tuple[Finding, ...]]:
    """Return the nodes of those processes that run elsewhere, and a finding for each that has more than planned."""
    known: set[str] = set()
    findings = []
    for process in plan.processes:
        if process.driver is not Driver.EXTERNAL or process.name not in names:
            continue
        nodes = external.nodes(plan, process, environ=environ)
        known |= set(nodes)
        if len(nodes) > process.elsewhere.replicas:
            findings.append(
                Finding(
                    code="WORKER-UNKNOWN",
                    severity=Severity.ERROR,
                    where=f"process {process.name}",
                    what=f"{len(nodes)} workers answer, the plan knows {process.elsewhere.replicas}",
                    found=", ".join(sorted(nodes)[:4]),
                    remedy="write `replicas`, or stop those that are too many; `nodes` says which are its own",
                )
            )
    return frozenset(known), tuple(findings)


def planned_children(process: Process) -> int:
    """Return how many Dramatiq processes all replicas have together; 0 if their command doesn't say it."""
    each = option(process.command, "-p", "--processes") or ""
    return process.elsewhere.replicas * int(each) if each.isdigit() else 0


def silent_finding(plan: Plan, state: ProcessState) -> Finding:
    """Return the finding about a Celery worker of the plan that does not answer."""
    where, found = f"process {state.name}", state.node or f"pid {state.pid}"
    record = read_record(plan, state.name)
    if record is None or not has_one_thread(record.identity):
        what, remedy = "does not answer", f"see {state.log or 'its log'}"
        return Finding(
            code="WORKER-SILENT", severity=Severity.ERROR, where=where, what=what, found=found, remedy=remedy
        )
    ours = process_named(plan, state.name).driver is Driver.COMMAND
    return Finding(
        code="WORKER-BUSY",
        severity=Severity.WARNING if ours else Severity.ERROR,
        where=where,
        what="runs a task in its only thread, and answers nothing before that has ended",
        found=f"{found}, --pool=solo",
        remedy="nothing: SIGTERM lets it finish; or wait until it is idle" if ours else "wait, then run again",
    )
