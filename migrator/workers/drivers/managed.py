"""What the drivers of process managers share: remember whom the manager runs, and who is left of those before.

A manager may replace a process at any moment. The record of the new one keeps the children that its predecessor left
behind: they would go on taking messages, and the manager does not know them.
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
from migrator.workers.drivers.process_identity import Identity, descendants, started_at
from migrator.workers.drivers.process_record import ProcessRecord, read_record, set_aside, write_record
from migrator.workers.drivers.terminate import tell

POLL_S = 0.05
START_TIMEOUT_S = 10.0


def remember(
    plan: Plan, process: Process, identity: Identity, *, stopping: bool, log: str = "", log_offset: int | None = None
) -> ProcessRecord:
    """Return the record of the process that a manager runs, renewed if anything about it has changed.

    Args:
        stopping: The manager has told it to stop.
        log_offset: Where its own output begins; by default at the end, for one that was found running.
    """
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
    """Return a process, all that descend from it, and what its predecessors have left behind."""
    return tuple(dict.fromkeys((record.identity, *descendants(record.identity), *record.living_orphans)))


def stop_orphans(plan: Plan, process: Process) -> tuple[Identity, ...]:
    """Send SIGTERM to children that have lost their parent, and return them: no manager knows them any more.

    Once to each, because Dramatiq takes a second signal for "at once".

    Raises:
        RefusedError: They belong to somebody else.
    """
    record = read_record(plan, process.name)
    if record is None:
        return ()
    orphans = record.living_orphans if record.alive else record.living_children
    told = set(record.orphans_told)
    untold = [orphan for orphan in orphans if (orphan.pid, orphan.start_ticks) not in told]
    for orphan in untold:
        tell(process, orphan, kinship=", a child without its parent,")
    if untold:
        write_record(plan, replace(record, orphans_told=(*record.orphans_told, *_pairs(untold))))
    return orphans


def log_size(log: str) -> int:
    """Return how long a log is by now; 0 if it can't be seen."""
    try:
        return Path(log).stat().st_size if log else 0
    except OSError:
        return 0


def fault(process: Process, *, code: str, severity: Severity, what: str, found: str, remedy: str) -> Finding:
    """Return a finding about how a manager is configured for a process."""
    where = f"process {process.name}: {process.driver.value} {process.program or process.unit}"
    return Finding(code=code, severity=severity, where=where, what=what, found=found, remedy=remedy)


def kill_fault(process: Process, *, after_s: float, found: str, remedy: str) -> Finding:
    """Return a finding about a SIGKILL that comes sooner than the plan allows; only a worker has messages to lose."""
    return fault(
        process,
        code="MANAGER-STOP-TIMEOUT",
        severity=Severity.ERROR if process.role is Role.WORKER else Severity.WARNING,
        what=f"would be killed {after_s:g} s after SIGTERM, the plan gives it {process.stop_timeout_s:g} s",
        found=found,
        remedy=f"{remedy}, or lower stop_timeout_s in the plan",
    )


def signal_fault(process: Process, *, found: str, remedy: str) -> Finding:
    """Return a finding about a stop signal that is not SIGTERM."""
    return fault(
        process,
        code="MANAGER-STOP-SIGNAL",
        severity=Severity.ERROR,
        what="would not be stopped with SIGTERM, on which workers give back what they hold",
        found=found,
        remedy=remedy,
    )


def stale_fault(process: Process, *, what: str, found: str, remedy: str) -> Finding:
    """Return a finding about a manager that works by another configuration than the one that lies there."""
    return fault(
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


def group_fault(process: Process, *, found: str, remedy: str) -> Finding:
    """Return a finding about a stop signal that goes to the children of a worker as well.

    Seen with both: a Celery pool process dies of it, and its task is acknowledged and lost; a Dramatiq child takes the
    second signal, its parent's, for "at once", and its tasks run again later. A cutover drains Celery before it stops
    it, so that nothing is left to lose; for Dramatiq the signal is the drain.
    """
    dramatiq = process.system is System.DRAMATIQ
    return fault(
        process,
        code="MANAGER-STOP-GROUP",
        severity=Severity.ERROR if dramatiq else Severity.WARNING,
        what="the stop signal would also go to its children, which then break off what they run"
        + ("" if dramatiq else "; we let it finish first, others that stop it do not"),
        found=found,
        remedy=remedy,
    )


def _pairs(members: Iterable[Identity]) -> tuple[tuple[int, int], ...]:
    return tuple((member.pid, member.start_ticks) for member in members)
