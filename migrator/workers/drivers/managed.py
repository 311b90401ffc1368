"""What the drivers of process managers share: record which process the manager runs, and what earlier ones left behind.

A manager may replace a process at any moment. The record of the new process keeps the children that its predecessor
left behind: they would go on consuming messages, and the manager does not know them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from migrator.errors import RefusedError
from migrator.plan.model import Plan
from migrator.plan.processes import Process, Role
from migrator.report import Finding, Severity
from migrator.state.state_folder import ensure_state_folder
from migrator.wire.message import System
from migrator.workers.drivers.likeness import require_likeness
from migrator.workers.drivers.process_identity import Identity, descendants, started_at
from migrator.workers.drivers.process_record import ProcessRecord, read_record, set_aside, write_record
from migrator.workers.drivers.terminate import send_sigterm

POLL_S = 0.05
START_TIMEOUT_S = 10.0


def remember(
    plan: Plan, process: Process, identity: Identity, *, stopping: bool, log: str = "", log_offset: int | None = None
) -> ProcessRecord:
    """Return the record of the process that a manager runs, updated if anything about it has changed.

    Args:
        stopping: The manager has told it to stop.
        log_offset: Where its own output begins; by default at the end, for a process that was found running.

    Raises:
        StrangerError: It does something else than the plan says.
    """
    where = f"process {process.name}: {process.driver.value} {process.program or process.unit}"
    remedy = f"correct `{'program' if process.program else 'unit'}` or the rest of this [[process]] in the plan"
    require_likeness(process, identity, where=where, remedy=remedy)
    last = read_record(plan, process.name)
    if last is not None and last.identity == identity:
        record = last
    else:
        if last is not None and last.alive:
            set_aside(plan, last)
        orphans = last.living_children if last is not None and not last.alive else ()
        record = ProcessRecord(
            name=process.name,
            node="",
            pid=identity.pid,
            start_ticks=identity.start_ticks,
            boot_id=identity.boot_id,
            started_at=started_at(identity),
            log=log,
            log_offset=log_size(log) if log_offset is None else log_offset,
            orphans=_pairs(orphans),
            orphans_told=last.orphans_told if last is not None else (),
        )
    since = (record.stopping_at or time.time()) if stopping else 0.0
    now = replace(record, stopping_at=since, children=_pairs(descendants(identity)) or record.children)
    if now != last:
        ensure_state_folder(plan)
        write_record(plan, now)
    return now


def family(record: ProcessRecord) -> tuple[Identity, ...]:
    """Return a process, all its descendants, and the children that its predecessors have left behind."""
    return tuple(dict.fromkeys((record.identity, *descendants(record.identity), *record.living_orphans)))


def stop_orphans(plan: Plan, process: Process) -> tuple[Identity, ...]:
    """Send SIGTERM to children that have lost their parent, and return them: no manager knows them any more.

    The signal is sent once to each, because Dramatiq takes a second one for "at once".

    Raises:
        RefusedError: They belong to somebody else.
    """
    record = read_record(plan, process.name)
    if record is None:
        return ()
    orphans = record.living_orphans if record.alive else record.living_children
    signalled = set(record.orphans_told)
    pending = [orphan for orphan in orphans if (orphan.pid, orphan.start_ticks) not in signalled]
    for orphan in pending:
        send_sigterm(process, orphan, relation=", a child without its parent,")
    if pending:
        write_record(plan, replace(record, orphans_told=(*record.orphans_told, *_pairs(pending))))
    return orphans


def log_size(log: str) -> int:
    """Return the current size of a log; 0 if it can't be read."""
    try:
        return Path(log).stat().st_size if log else 0
    except OSError:
        return 0


def manager_finding(process: Process, *, code: str, severity: Severity, what: str, found: str, remedy: str) -> Finding:
    """Return a finding about how a manager is configured for a process."""
    where = f"process {process.name}: {process.driver.value} {process.program or process.unit}"
    return Finding(code=code, severity=severity, where=where, what=what, found=found, remedy=remedy)


def kill_timeout_finding(process: Process, *, after_s: float, found: str, remedy: str) -> Finding:
    """Return a finding about a SIGKILL that comes sooner than the plan allows; only workers have messages to lose."""
    return manager_finding(
        process,
        code="MANAGER-STOP-TIMEOUT",
        severity=Severity.ERROR if process.role is Role.WORKER else Severity.WARNING,
        what=f"would be killed {after_s:g} s after SIGTERM, the plan gives it {process.stop_timeout_s:g} s",
        found=found,
        remedy=f"{remedy}, or lower stop_timeout_s in the plan",
    )


def stop_signal_finding(process: Process, *, found: str, remedy: str) -> Finding:
    """Return a finding about a stop signal that is not SIGTERM."""
    return manager_finding(
        process,
        code="MANAGER-STOP-SIGNAL",
        severity=Severity.ERROR,
        what="would not be stopped with SIGTERM, on which workers return what they hold",
        found=found,
        remedy=remedy,
    )


def stale_config_finding(process: Process, *, what: str, found: str, remedy: str) -> Finding:
    """Return a finding about a manager that has not loaded the current configuration."""
    return manager_finding(
        process,
        code="MANAGER-STALE-CONFIG",
        severity=Severity.WARNING,
        what=what,
        found=found,
        remedy=remedy,
    )


def refuse(findings: Iterable[Finding]) -> None:
    """Refuse to stop a process that its manager would stop in a way that loses messages."""
    for finding in findings:
        if finding.severity is Severity.ERROR:
            raise RefusedError(finding.where, finding.what, found=finding.found, remedy=finding.remedy)


def stop_group_finding(process: Process, *, found: str, remedy: str) -> Finding:
    """Return a finding about a stop signal that goes to the children of a worker as well.

    Observed with both: it kills a Celery pool process, and its task is acknowledged and lost; a Dramatiq child takes
    the second signal, its parent's, for "at once", and its tasks run again later. A cutover drains Celery before it
    stops it, so that nothing is left to lose; for Dramatiq the signal is the drain.
    """
    dramatiq = process.system is System.DRAMATIQ
    return manager_finding(
        process,
        code="MANAGER-STOP-GROUP",
        severity=Severity.ERROR if dramatiq else Severity.WARNING,
        what="the stop signal would also go to its children, which then abort what they run"
        + ("" if dramatiq else "; this tool drains it first, others that stop it do not"),
        found=found,
        remedy=remedy,
    )


def _pairs(members: Iterable[Identity]) -> tuple[tuple[int, int], ...]:
    return tuple((member.pid, member.start_ticks) for member in members)
