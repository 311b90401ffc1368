"""Run the plan's processes as systemd units: `systemctl` starts and stops them, we decide when and identify them.

A unit is only ever stopped by `systemctl stop`: one that merely got a signal would be restarted by `Restart=`.
systemd sends SIGKILL after `TimeoutStopSec` (90 s by default); we refuse to stop a worker whose timeout is below the
plan's `stop_timeout_s`. With `KillMode=control-group`, its default, the stop signal also goes to the children of a
worker, which then abort what they run: a finding of the preflight.

Tested where the machine allows it: a user manager of systemd 252 (start, stop, restart, children left behind, timeouts,
a whole cutover and rollback). Not tested: the system manager with polkit, units with a journal, Type=notify, units that
a timer or socket triggers; for these only command lines and parsing are tested. Refused: Type=forking and Type=oneshot,
where systemd guesses which process is the main one.

Source: systemctl(1), systemd.kill(5), systemd.service(5), org.freedesktop.systemd1(5) for the properties.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping

from migrator.errors import RefusedError, UnreachableError, UsageError, did_you_mean
from migrator.plan.model import Plan
from migrator.plan.processes import Process, Role
from migrator.report import Finding, Severity
from migrator.wire.message import Side
from migrator.workers.drivers import systemctl
from migrator.workers.drivers.managed import (
    POLL_S,
    START_TIMEOUT_S,
    family,
    kill_timeout_finding,
    manager_finding,
    refuse,
    remember,
    stale_config_finding,
    stop_group_finding,
    stop_orphans,
    stop_signal_finding,
)
from migrator.workers.drivers.process_identity import Identity, identify
from migrator.workers.drivers.process_record import ProcessRecord, read_record
from migrator.workers.drivers.systemctl import UnitFacts

RUNNING_STATES = ("active", "activating", "reloading")
#: Types whose main process does not do the work: `celery multi`, container wrappers.
UNSUPPORTED_TYPES = ("forking", "oneshot")


def current(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> ProcessRecord | None:
    """Return the main process of the plan's unit; None if it has none.

    Raises:
        UnreachableError: systemd does not answer.
        UsageError: There is no such unit.
        RefusedError: We may not talk to it.
    """
    return _record(plan, process, _facts(process, environ), environ)


def start(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> ProcessRecord:
    """Have a unit started unless it runs already; does not wait until it is ready.

    One that is still stopping is waited for first, at most its stop timeout.

    Raises:
        UnreachableError: It did not start, or is still stopping.
        RefusedError: We may not start it.
    """
    facts = _wait_not_stopping(process, environ)
    if facts.active not in RUNNING_STATES:
        systemctl.run(process, "start", environ=environ)
    end = time.monotonic() + START_TIMEOUT_S
    while True:
        facts = _facts(process, environ)
        record = _record(plan, process, facts, environ)
        if record is not None:
            return record
        gave_up = facts.active not in (*RUNNING_STATES, "inactive") or facts.sub == "auto-restart"
        if gave_up or time.monotonic() > end:
            raise UnreachableError(
                f"process {process.name}", "did not start", found=facts.text, remedy=f"journalctl -u {process.unit}"
            )
        time.sleep(POLL_S)


def signal_stop(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> tuple[Identity, ...]:
    """Have systemd stop a unit, and return its main process with all its children, as they were before the signal.

    Raises:
        RefusedError: systemd would kill it sooner than the plan allows, or we may not stop it.
    """
    facts = _facts(process, environ)
    record = _record(plan, process, facts, environ)
    runs = facts.active in RUNNING_STATES
    if runs:
        refuse(_stop_findings(process, facts))
    members = family(record) if record is not None else ()
    members = (*members, *stop_orphans(plan, process))
    if runs:
        systemctl.run(process, "stop", environ=environ)
    return tuple(dict.fromkeys(members))


def why_stopped(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> str:
    """Return what systemd says about a unit that has no main process."""
    return f"systemd says {_facts(process, environ).text}"


def misconfigurations(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> tuple[Finding, ...]:
    """Return what is dangerous about how the unit is configured."""
    facts = _facts(process, environ)
    found = [*_stop_findings(process, facts)]
    if process.role is Role.WORKER and facts.kill_mode == "control-group":
        remedy = f"set KillMode=mixed: `systemctl edit {process.unit}`, then `systemctl daemon-reload`"
        found.append(stop_group_finding(process, found="KillMode=control-group", remedy=remedy))
    if process.side is Side.LEGACY and (facts.unit_file.startswith("enabled") or facts.triggered_by):
        by = f"triggered by {facts.triggered_by}" if facts.triggered_by else f"the unit is {facts.unit_file}"
        what = "starts again at the next boot or trigger, beside the unified side"
        remedy = "`systemctl disable` it before the cutover, `enable` it after a rollback"
        found.append(
            manager_finding(
                process, code="MANAGER-AUTOSTART", severity=Severity.WARNING, what=what, found=by, remedy=remedy
            )
        )
    if facts.needs_reload:
        what = "its unit file has changed since systemd read it"
        remedy = "`systemctl daemon-reload`"
        found.append(stale_config_finding(process, what=what, found="NeedDaemonReload=yes", remedy=remedy))
    return tuple(found)


def _facts(process: Process, environ: Mapping[str, str]) -> UnitFacts:
    facts = systemctl.show(process, environ=environ)
    where = f"process {process.name}: unit {process.unit}"
    if facts.load == "not-found":
        known = systemctl.units(process, environ=environ)
        remedy = did_you_mean(process.unit, known) or "install it, then `systemctl daemon-reload`"
        raise UsageError(where, "there is no such unit", found=facts.text, remedy=f"{remedy} or correct the plan")
    if facts.kind in UNSUPPORTED_TYPES:
        remedy = "run the worker itself in the foreground with Type=simple (no `celery multi`, no --detach)"
        raise RefusedError(where, "is of a type that is not supported", found=f"Type={facts.kind}", remedy=remedy)
    if facts.load != "loaded":
        remedy = f"systemctl unmask {process.unit}" if facts.load == "masked" else f"systemctl status {process.unit}"
        raise RefusedError(where, "can't be used", found=f"LoadState={facts.load}", remedy=remedy)
    return facts


def _record(plan: Plan, process: Process, facts: UnitFacts, environ: Mapping[str, str]) -> ProcessRecord | None:
    identity = identify(facts.main_pid) if facts.main_pid else None
    if identity is None:
        return None
    last = read_record(plan, process.name)
    known = last is not None and last.identity == identity
    # A process seen for the first time is the unit's only if systemd still says so after we have identified it.
    if not known and systemctl.show(process, environ=environ).main_pid != identity.pid:
        return None
    return remember(plan, process, identity, stopping=facts.active == "deactivating")


def _wait_not_stopping(process: Process, environ: Mapping[str, str]) -> UnitFacts:
    end = time.monotonic() + process.stop_timeout_s
    while True:
        facts = _facts(process, environ)
        if facts.active != "deactivating":
            return facts
        if time.monotonic() > end:
            raise UnreachableError(
                f"process {process.name}",
                f"is still stopping after {process.stop_timeout_s:g} s",
                found=f"pid {facts.main_pid}",
                remedy="it ends when its tasks end: look at `migrator workers list`, then run the same command again",
            )
        time.sleep(POLL_S)


def _stop_findings(process: Process, facts: UnitFacts) -> tuple[Finding, ...]:
    found = []
    limit_s = facts.stop_timeout_s
    if facts.sends_sigkill and limit_s < process.stop_timeout_s:
        remedy = f"set TimeoutStopSec={process.stop_timeout_s:g} or more, then `systemctl daemon-reload`"
        found.append(kill_timeout_finding(process, after_s=limit_s, found=f"TimeoutStopSec={limit_s:g}", remedy=remedy))
    if process.role is Role.WORKER and (facts.kill_signal != signal.SIGTERM or facts.kill_mode == "none"):
        seen = f"KillSignal={facts.kill_signal}, KillMode={facts.kill_mode}"
        remedy = "set KillSignal=SIGTERM and KillMode=mixed, then `systemctl daemon-reload`"
        found.append(stop_signal_finding(process, found=seen, remedy=remedy))
    return tuple(found)
