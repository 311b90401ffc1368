"""The last resort: SIGKILL for exactly one process of the plan and its children, and only after a person confirmed it.

Nothing here runs automatically. A process must have been told to stop and must have had its time; what it runs is
aborted. The parent is killed first, or it would restart its children.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping

from migrator.errors import RefusedError, UnreachableError
from migrator.plan.model import Plan
from migrator.plan.processes import Driver, Process
from migrator.workers.drivers.process_identity import Identity, descendants, send_signal, wait_gone
from migrator.workers.drivers.process_record import read_record
from migrator.workers.processes import current

KILL_TIMEOUT_S = 10.0
#: Asked when a process has not ended in its time: may it be killed? The text says what it still runs.
AskKill = Callable[[Process, str], bool]


def survivors(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> tuple[Identity, ...]:
    """Return what is left of a process: itself first, then its children, and orphans of earlier ones."""
    record = current(plan, process, environ=environ)
    if record is not None:
        return tuple(dict.fromkeys((record.identity, *descendants(record.identity), *record.living_orphans)))
    last = read_record(plan, process.name)
    return last.living_children if last is not None else ()


def kill(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> float:
    """Send SIGKILL to a process that was told to stop, and to its children; returns the seconds until all were gone.

    Raises:
        RefusedError: It was not told to stop, or belongs to somebody else.
        UnreachableError: Something is still there, such as a process in the middle of a system call.
    """
    began = time.monotonic()
    if process.driver is Driver.EXTERNAL:
        raise RefusedError(f"process {process.name}", "has no pid here", remedy="end it where it runs")
    record = current(plan, process, environ=environ)
    if record is not None and not record.stopping_at:
        remedy = f"migrator workers stop {process.side.value} --name {process.name}"
        raise RefusedError(f"process {process.name}", "was not told to stop yet", remedy=remedy)
    family = survivors(plan, process, environ=environ)
    for member in family:
        try:
            send_signal(member, signal.SIGKILL)
        except PermissionError as error:
            what = f"pid {member.pid} belongs to another user"
            raise RefusedError(f"process {process.name}", what, remedy="run as that user") from error
    left = wait_gone(family, timeout_s=KILL_TIMEOUT_S)
    if left:
        pids = ", ".join(str(member.pid) for member in left)
        what = f"is still there {KILL_TIMEOUT_S:g} s after SIGKILL"
        raise UnreachableError(
            f"process {process.name}", what, found=f"pid {pids}", remedy="find out what it waits for"
        )
    return time.monotonic() - began


def stuck(process: Process, cause: UnreachableError) -> UnreachableError:
    """Return the error about a process that has not ended in its time, with the command that kills it."""
    if process.driver is Driver.EXTERNAL:
        return cause
    managed = process.driver is not Driver.COMMAND
    wait = "it ends when its tasks end: look at `migrator workers list`, then run the same command again"
    command = f"migrator workers stop {process.side.value} --name {process.name} --kill {process.name} --yes"
    hint = f", or kill it with what it runs: `{command}`" + ("; its manager may do so before" if managed else "")
    return UnreachableError(cause.where, cause.what, found=cause.found, remedy=wait + hint)
