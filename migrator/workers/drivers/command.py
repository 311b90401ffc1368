"""Run the plan's processes as our own commands: start, adopt, stop.

A started process has its own session and outlives the tool. It is recognised by pid, start time and boot
(:mod:`migrator.workers.drivers.process_identity`) and stopped with SIGTERM only: a Celery worker on Redis that is
killed in a harsher way loses what it has just taken (Source: kombu/transport/redis.py, BRPOP comes before QoS.append).
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import orjson

from migrator.errors import RefusedError, UnreachableError, UsageError
from migrator.plan.model import Plan
from migrator.plan.placeholders import fill, fill_words
from migrator.plan.processes import Process
from migrator.project.legacy_tree import in_tree, legacy_folder, own_paths
from migrator.report import Finding
from migrator.state.state_folder import ensure_state_folder
from migrator.wire.message import Side
from migrator.workers.drivers.likeness import StrangerError, command_line, require_likeness, require_pidfile
from migrator.workers.drivers.process_identity import Identity, boot_id, descendants, identify, started_at, wait_gone
from migrator.workers.drivers.process_record import (
    ProcessRecord,
    mark_stopping,
    read_record,
    record_file,
    set_aside,
    write_record,
)
from migrator.workers.drivers.terminate import send_sigterm, wait_stopped

START_TIMEOUT_S = 10.0
#: How long a process gets to end when it is unknown whether it was told to.
UNSURE_TIMEOUT_S = 3.0
#: What stopping workers log. Source: celery/apps/worker.py, celery/apps/beat.py, dramatiq/cli.py.
STOPPING_SIGNS = ("Warm shutdown", "beat: Shutting down", "to subprocesses...", "Stopping worker process...")


def current(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> ProcessRecord | None:
    """Return the living process of that name: ours by its record, or somebody else's by its pidfile."""
    record = read_record(plan, process.name)
    if record is not None and record.alive:
        file = record_file(plan, process.name)
        # Until it becomes the worker, it is the launcher, which is given this file.
        if str(file) not in command_line(record.identity):
            remedy = "stop it yourself if it may go, and delete the record; or put the plan's command back"
            require_likeness(process, record.identity, where=str(file), remedy=remedy)
        return record
    return adopt(plan, process, environ=environ) if process.pidfile else None


def start(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> ProcessRecord:
    """Start a process unless it runs already, and return who it is; does not wait until it is ready.

    Raises:
        UnreachableError: The command can't be executed or ended at once.
    """
    running = current(plan, process, environ=environ)
    if running is not None and not running.stopping_at:
        return running
    if running is not None:
        set_aside(plan, running)
    ensure_state_folder(plan)
    file = record_file(plan, process.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    log = file.with_suffix(".log")
    node = f"{process.name}-{secrets.token_hex(4)}@{socket.gethostname()}"
    offset = log.stat().st_size if log.exists() else 0
    # One that is given a name of its own is found by its pid.
    named = node if any("{node}" in word for word in process.command) else ""
    fields = {"name": process.name, "node": named, "log": str(log), "log_offset": offset}
    launch = [sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py")), str(file)]
    folder = process_folder(plan, process, environ=environ)
    own = _environment_in(plan, folder, environment(plan, process, environ=environ))
    if folder != plan.folder:
        _require_shared_files(plan, process, folder, own)
    command = [in_tree(plan, folder, word) for word in arguments(plan, process, environ=environ, node=node)]
    with log.open("ab") as output:
        child = subprocess.Popen(
            [*launch, orjson.dumps(fields).decode(), *command],
            cwd=folder / in_tree(plan, folder, process.directory),
            env=own,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return _await_record(plan, process, child)


def adopt(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> ProcessRecord | None:
    """Take over a process that somebody else started and that wrote its pid to the plan's pidfile.

    Raises:
        StrangerError: The pidfile names a process that is not the plan's, or younger than the file: the pid was reused.
    """
    text = fill(plan, process.pidfile, environ=environ, where=f"process {process.name}: pidfile")
    file = plan.folder / process.directory / text
    try:
        pid = int(file.read_text(encoding="ascii").strip())
        written_at = file.stat().st_mtime
    except (OSError, ValueError):
        return None
    identity = identify(pid)
    if identity is None:
        return None
    began_at = started_at(identity)
    if began_at > written_at + 5:
        raise StrangerError(
            str(file),
            f"names pid {pid}, which started after the file was written",
            found="the pid was reused by another process",
            remedy="delete the stale file",
        )
    folders = (plan.folder, plan.folder / process.directory)
    require_pidfile(process, identity, file=file, folders=folders, environ=environ)
    record = ProcessRecord(
        name=process.name, node="", pid=pid, start_ticks=identity.start_ticks, boot_id=boot_id(), started_at=began_at
    )
    write_record(plan, record)
    return record


def signal_stop(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> tuple[Identity, ...]:
    """Send SIGTERM to a process and return it with all its children, as they were before the signal.

    Children of a parent that is gone get the signal themselves.
    """
    record = current(plan, process, environ=environ)
    if record is None:
        last = read_record(plan, process.name)
        orphans = last.living_children if last is not None else ()
        for orphan in orphans:
            send_sigterm(process, orphan, relation=", a child without its parent,")
        return orphans
    family = (record.identity, *descendants(record.identity))
    if not record.told_at and not _stops_already(record):
        record = mark_stopping(plan, record, signalled=False)
        send_sigterm(process, record.identity)
        mark_stopping(plan, record, signalled=True)
    return family


def stop(plan: Plan, process: Process, *, environ: Mapping[str, str], timeout_s: float | None = None) -> float:
    """Stop a process and its children with SIGTERM; returns the seconds it took. No-op if it does not run."""
    return wait_stopped(process, signal_stop(plan, process, environ=environ), timeout_s=timeout_s)


def why_stopped(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> str:
    """Return what is known about a process that does not run; its log has the rest."""
    return "it is not running"


def misconfigurations(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> tuple[Finding, ...]:
    """Return nothing: what we start ourselves is only ever sent SIGTERM."""
    return ()


def arguments(plan: Plan, process: Process, *, environ: Mapping[str, str], node: str = "") -> list[str]:
    """Return the command with every placeholder filled in."""
    where = f"process {process.name}: command"
    return fill_words(plan, process.command, environ=environ, where=where, node=node)


def environment(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the process: ours, and the plan's additions."""
    where = f"process {process.name}: environment"
    own = {key: fill(plan, value, environ=environ, where=where) for key, value in process.environment.items()}
    return {"PYTHONUNBUFFERED": "1", **environ, **own}


def process_folder(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> Path:
    """Return the folder that a process runs from: of a legacy one, where the source still has its tasks."""
    if process.side is Side.UNIFIED or process.as_it_is:
        return plan.folder
    return legacy_folder(plan, environ=environ)


def _require_shared_files(plan: Plan, process: Process, folder: Path, environ: Mapping[str, str]) -> None:
    """Refuse a process of the legacy tree whose settings lead it to files that only the tree has.

    Raises:
        RefusedError: What it writes there would be gone with the tree.
    """
    own = own_paths(plan, folder, environ)
    if own:
        raise RefusedError(
            f"process {process.name}",
            "its settings name files below the project, which in the tree of the legacy source are others",
            found="; ".join(own[:3]),
            remedy="set those paths by variables under `environment` of the process in the plan, or let git ignore "
            "the files, which are then shared",
        )


def _environment_in(plan: Plan, folder: Path, own: dict[str, str]) -> dict[str, str]:
    """Return the environment of a process in a folder: in the legacy tree, its modules come before all others."""
    if folder == plan.folder:
        return own
    paths = [in_tree(plan, folder, path) for path in own.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {**own, "PYTHONPATH": os.pathsep.join([str(folder / plan.project.root), *paths])}


def process_named(plan: Plan, name: str) -> Process:
    """Return the process of that name.

    Raises:
        UsageError: The plan has none.
    """
    found = next((process for process in plan.processes if process.name == name), None)
    if found is None:
        names = ", ".join(process.name for process in plan.processes) or "none"
        raise UsageError(f"process {name}", "is not in the plan", found=f"it has {names}", remedy="use one of these")
    return found


def tail(record: ProcessRecord, lines: int = 3) -> str:
    """Return the last lines that the process itself has written."""
    text = output(record)
    return " | ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip())


def output(record: ProcessRecord, limit: int = 65536) -> str:
    """Return what the process has written since it started, at most the last ``limit`` bytes."""
    if not record.log:
        return ""
    try:
        with Path(record.log).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(record.log_offset, size - limit))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _await_record(plan: Plan, process: Process, child: subprocess.Popen[bytes]) -> ProcessRecord:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        record = read_record(plan, process.name)
        if record is not None and record.pid == child.pid:
            # From here on only pid and start time are used; this keeps Popen from waiting for it or warning.
            child.returncode = 0
            return record
        if child.poll() is not None:
            break
        time.sleep(0.005)
    log = record_file(plan, process.name).with_suffix(".log")
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] if log.exists() else []
    raise UnreachableError(
        f"process {process.name}", "did not start", found=" ".join(last), remedy=f"run its command by hand; see {log}"
    )


def _stops_already(record: ProcessRecord) -> bool:
    """Find out whether a signal was sent by a run that died before it could record that.

    A second SIGTERM is not harmless: Dramatiq then aborts what it is doing. So the process gets a moment to end, and
    its log is checked; the signal is sent again only to a process that shows no sign of stopping.
    """
    if not record.stopping_at:
        return False
    if not wait_gone((record.identity,), timeout_s=UNSURE_TIMEOUT_S):
        return True
    written = output(record)
    return any(sign in written for sign in STOPPING_SIGNS)
