"""Run the plan's processes through supervisord: it starts and stops them, we decide when and identify them.

A program is only ever stopped by supervisord's own `stopProcess`: one that merely got a signal would be restarted by
`autorestart`. supervisord sends SIGKILL after `stopwaitsecs` (10 by default), which loses what a Celery worker on Redis
has just taken; so we refuse to stop a worker whose `stopwaitsecs` is below the plan's `stop_timeout_s`.

Source: supervisor/rpcinterface.py (startProcess, stopProcess, getProcessInfo, getAllConfigInfo),
supervisor/process.py (`transition`: SIGKILL after stopwaitsecs; only EXITED and BACKOFF restart, STOPPED never does).
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from migrator.errors import RefusedError, UnreachableError, UsageError, did_you_mean
from migrator.plan.model import Plan
from migrator.plan.processes import Process, Role
from migrator.report import Finding, Severity
from migrator.wire.message import Side
from migrator.workers.drivers.managed import (
    POLL_S,
    START_TIMEOUT_S,
    family,
    kill_timeout_finding,
    log_size,
    manager_finding,
    refuse,
    remember,
    stale_config_finding,
    stop_group_finding,
    stop_orphans,
    stop_signal_finding,
)
from migrator.workers.drivers.process_identity import Identity, identify, parent_pid
from migrator.workers.drivers.process_record import ProcessRecord
from migrator.workers.drivers.supervisord_rpc import (
    ALREADY_STARTED,
    BAD_NAME,
    NOT_RUNNING,
    FaultError,
    Supervisord,
    supervisord,
)

RUNNING_STATES = ("STARTING", "RUNNING", "BACKOFF")
#: How long supervisord may take to restart a program that has ended by itself, in seconds; it looks every second.
RESTART_S = 2
#: For startProcess and stopProcess: answer at once.
NO_WAIT = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramInfo:
    """What supervisord says about a program."""

    #: STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL or UNKNOWN.
    state: str
    #: 0 if it does not run.
    pid: int
    #: Its error output, or its output where both go to one file; empty if supervisord keeps none.
    log: str
    #: Why it is in this state, in supervisord's words.
    description: str
    #: Whole seconds since it last ended.
    ended_s: int


def current(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> ProcessRecord | None:
    """Return the process that supervisord runs under the plan's program name; None if it runs none.

    Raises:
        UnreachableError: supervisord does not answer.
        UsageError: It has no such program.
        RefusedError: We may not talk to it.
    """
    with supervisord(process, environ) as server:
        return _record(plan, process, server, info(process, server))


def start(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> ProcessRecord:
    """Have a program started unless it runs already; does not wait until it is ready.

    One that is still stopping is waited for first, at most its stop timeout.

    Raises:
        UnreachableError: It did not start, or is still stopping.
    """
    with supervisord(process, environ) as server:
        now = _wait_not_stopping(process, server)
        if now.state not in RUNNING_STATES:
            offset = log_size(now.log)
            try:
                server.call("startProcess", process.program, NO_WAIT)
            except FaultError as error:
                if error.code != ALREADY_STARTED:
                    raise _not_started(process, info(process, server), f"{error.found}") from error
        else:
            offset = None
        end = time.monotonic() + START_TIMEOUT_S
        while True:
            now = info(process, server)
            record = _record(plan, process, server, now, log_offset=offset)
            if record is not None:
                return record
            if now.state not in ("STARTING", "RUNNING") or time.monotonic() > end:
                raise _not_started(process, now, now.description)
            time.sleep(POLL_S)


def signal_stop(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> tuple[Identity, ...]:
    """Have supervisord stop a program, and return it with all its children, as they were before the signal.

    Children that an earlier process left behind are not supervisord's: they get SIGTERM from us.

    Raises:
        RefusedError: supervisord would kill it sooner than the plan allows, or asks for another signal.
    """
    with supervisord(process, environ) as server:
        now = _wait_restart(process, server)
        record = _record(plan, process, server, now)
        if now.state in RUNNING_STATES:
            refuse(_stop_findings(process, _settings(process, server)))
        members = family(record) if record is not None else ()
        members = (*members, *stop_orphans(plan, process))
        if now.state in RUNNING_STATES:
            try:
                server.call("stopProcess", process.program, NO_WAIT)
            except FaultError as error:
                if error.code != NOT_RUNNING:
                    what = "supervisord could not stop it"
                    raise RefusedError(f"process {process.name}", what, found=error.found) from error
    return tuple(dict.fromkeys(members))


def why_stopped(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> str:
    """Return what supervisord says about a program that does not run."""
    with supervisord(process, environ) as server:
        now = info(process, server)
    return f"supervisord says {now.state}: {now.description}"


def misconfigurations(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> tuple[Finding, ...]:
    """Return what is dangerous about how supervisord is configured for this program."""
    with supervisord(process, environ) as server:
        info(process, server)
        settings = _settings(process, server)
    if not settings:
        remedy = "put it back into the configuration, then `supervisorctl reread`"
        what = (
            "supervisord runs it, but has since read a configuration without it: it is unknown how it would be stopped"
        )
        found = [stale_config_finding(process, what=what, found="no stopwaitsecs, no stopsignal", remedy=remedy)]
    else:
        found = list(_stop_findings(process, settings))
    if process.role is Role.WORKER and settings.get("killasgroup"):
        # supervisord does not report stopasgroup; but that is never on without killasgroup.
        seen = "killasgroup is on, and perhaps stopasgroup too, which supervisord does not report"
        remedy = "set stopasgroup=false and killasgroup=false, then `supervisorctl update` (which restarts it)"
        found.append(stop_group_finding(process, found=seen, remedy=remedy))
    if process.side is Side.LEGACY and settings.get("autostart"):
        found.append(
            manager_finding(
                process,
                code="MANAGER-AUTOSTART",
                severity=Severity.WARNING,
                what="starts again when supervisord is restarted, beside the unified side",
                found="autostart is on",
                remedy="set autostart=false before the cutover, or remove the program after it",
            )
        )
    return tuple(found)


def info(process: Process, server: Supervisord) -> ProgramInfo:
    """Return what supervisord says about the program of a process.

    Raises:
        UsageError: It has none of that name; offers the nearest.
    """
    try:
        answer = server.call("getProcessInfo", process.program)
    except FaultError as error:
        if error.code != BAD_NAME:
            raise
        known = [_full_name(each) for each in server.call("getAllProcessInfo")]
        advice = "correct `program` in the plan, or `supervisorctl update` if its configuration is new"
        raise UsageError(
            f"process {process.name}: program {process.program}",
            f"{server.where} has no such program",
            found=", ".join(known) or "it has none",
            remedy=f"{did_you_mean(process.program, known)} {advice}".lstrip(),
        ) from error
    return ProgramInfo(
        state=str(answer["statename"]),
        pid=int(answer["pid"]),
        log=str(answer["stderr_logfile"] or answer["stdout_logfile"]),
        description=str(answer["spawnerr"] or answer["description"]),
        ended_s=int(answer["now"]) - int(answer["stop"]),
    )


def _record(
    plan: Plan, process: Process, server: Supervisord, now: ProgramInfo, *, log_offset: int | None = None
) -> ProcessRecord | None:
    identity = identify(now.pid) if now.pid else None
    if identity is None:
        return None
    master = int(server.call("getPID"))
    parent = parent_pid(identity)
    if parent is None:
        return None
    if parent != master:
        raise RefusedError(
            f"process {process.name}",
            f"pid {now.pid} is not a child of supervisord here",
            found=f"its parent is pid {parent}, supervisord says it is {master} itself",
            remedy="run the tool where supervisord runs: on the same machine and in the same container",
        )
    return remember(plan, process, identity, stopping=now.state == "STOPPING", log=now.log, log_offset=log_offset)


def _wait_not_stopping(process: Process, server: Supervisord) -> ProgramInfo:
    end = time.monotonic() + process.stop_timeout_s
    while True:
        now = info(process, server)
        if now.state != "STOPPING":
            return now
        if time.monotonic() > end:
            raise UnreachableError(
                f"process {process.name}",
                f"is still stopping after {process.stop_timeout_s:g} s",
                found=f"pid {now.pid}",
                remedy="it ends when its tasks end: look at `migrator workers list`, then run the same command again",
            )
        time.sleep(POLL_S)


def _wait_restart(process: Process, server: Supervisord) -> ProgramInfo:
    """Return the state of a program, but not in the moment between its own end and its restart by supervisord."""
    while True:
        now = info(process, server)
        if now.state != "EXITED" or now.ended_s > RESTART_S:
            return now
        time.sleep(POLL_S)


def _not_started(process: Process, now: ProgramInfo, why: str) -> UnreachableError:
    found = f"supervisord says {now.state}: {now.description}"
    return UnreachableError(
        f"process {process.name}",
        "did not start",
        found=found if why in found else f"{found}; {why}",
        remedy=f"see {now.log}" if now.log else f"supervisorctl tail {process.program} stderr",
    )


def _settings(process: Process, server: Supervisord) -> Mapping[str, Any]:
    for settings in server.call("getAllConfigInfo"):
        if process.program in (_full_name(settings), f"{settings['group']}:{settings['name']}"):
            return dict(settings)
    return {}


def _stop_findings(process: Process, settings: Mapping[str, Any]) -> tuple[Finding, ...]:
    found = []
    wait_s, number = settings.get("stopwaitsecs"), settings.get("stopsignal")
    if wait_s is not None and wait_s < process.stop_timeout_s:
        remedy = f"set stopwaitsecs={process.stop_timeout_s:g} or more, then `supervisorctl update` (which restarts it)"
        found.append(kill_timeout_finding(process, after_s=wait_s, found=f"stopwaitsecs={wait_s}", remedy=remedy))
    if process.role is Role.WORKER and number not in (None, signal.SIGTERM):
        seen = f"stopsignal={signal.Signals(number).name}"
        found.append(
            stop_signal_finding(process, found=seen, remedy="set stopsignal=TERM, then `supervisorctl update`")
        )
    return tuple(found)


def _full_name(entry: Mapping[str, Any]) -> str:
    return str(entry["name"]) if entry["group"] == entry["name"] else f"{entry['group']}:{entry['name']}"
