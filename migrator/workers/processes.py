"""The dispatcher to the drivers of processes: every caller goes through here, and the plan names the driver.

A driver is a module with the functions of :class:`DriverModule`: `command`, `supervisor` or `systemd`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from migrator.errors import RefusedError
from migrator.inventory.in_place import undefined
from migrator.plan.model import Plan
from migrator.plan.processes import Driver, Process, Role
from migrator.report import Finding
from migrator.wire.message import Side, System
from migrator.workers.drivers import command, supervisor, systemd
from migrator.workers.drivers.process_identity import Identity
from migrator.workers.drivers.process_record import ProcessRecord
from migrator.workers.drivers.terminate import wait_stopped

__all__ = ["current", "misconfigurations", "signal_stop", "start", "stop", "wait_stopped", "why_stopped"]


class DriverModule(Protocol):
    """The functions of a driver. ``wait_stopped`` is the same for all, because it only looks at pids."""

    def current(self, plan: Plan, process: Process, *, environ: Mapping[str, str]) -> ProcessRecord | None:
        """Return the living process of that name; None if there is none."""

    def start(self, plan: Plan, process: Process, *, environ: Mapping[str, str]) -> ProcessRecord:
        """Start it unless it runs already; does not wait until it is ready."""

    def signal_stop(self, plan: Plan, process: Process, *, environ: Mapping[str, str]) -> tuple[Identity, ...]:
        """Tell it to stop, and return it with its children as they were before the signal."""

    def why_stopped(self, plan: Plan, process: Process, *, environ: Mapping[str, str]) -> str:
        """Return what is known about one that does not run."""

    def misconfigurations(self, plan: Plan, process: Process, *, environ: Mapping[str, str]) -> tuple[Finding, ...]:
        """Return what is dangerous about how somebody else has configured it."""


DRIVERS: Mapping[Driver, DriverModule] = {
    Driver.COMMAND: command,
    Driver.SUPERVISOR: supervisor,
    Driver.SYSTEMD: systemd,
}


def current(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> ProcessRecord | None:
    """Return the living process of that name; None if there is none."""
    return DRIVERS[process.driver].current(plan, process, environ=environ)


def start(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> ProcessRecord:
    """Start a process unless it runs already, and return who it is; does not wait until it is ready.

    Raises:
        RefusedError: It is a legacy worker, and the source that it would run from has not all of its tasks.
    """
    if process.side is Side.LEGACY and process.role is Role.WORKER and not process.as_it_is:
        _require_tasks(plan, process, environ)
    return DRIVERS[process.driver].start(plan, process, environ=environ)


def _require_tasks(plan: Plan, process: Process, environ: Mapping[str, str]) -> None:
    """Refuse a legacy worker that would fail, or drop, the messages of tasks that it does not have."""
    own = process.driver is Driver.COMMAND
    folder = command.process_folder(plan, process, environ=environ) if own else plan.folder
    gone = undefined(plan, folder / plan.project.root, process.system)
    if gone:
        some = ", ".join(gone[:3]) + (f" and {len(gone) - 3} more" if len(gone) > 3 else "")
        kind = "actors" if process.system is System.DRAMATIQ else "tasks"
        raise RefusedError(
            f"process {process.name}",
            f"would start without its {kind}, and give up their waiting messages",
            found=f"{folder / plan.project.root} does not define {some}",
            remedy="put the legacy source back first: `migrator rollback` after a cutover, `migrator rewrite-imports "
            "--undo` before one, or git",
        )


def signal_stop(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> tuple[Identity, ...]:
    """Tell a process to stop and return it with all its children, as they were before the signal."""
    return DRIVERS[process.driver].signal_stop(plan, process, environ=environ)


def stop(plan: Plan, process: Process, *, environ: Mapping[str, str], timeout_s: float | None = None) -> float:
    """Stop a process and its children; returns the seconds it took. No-op if it does not run."""
    return wait_stopped(process, signal_stop(plan, process, environ=environ), timeout_s=timeout_s)


def why_stopped(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> str:
    """Return what is known about a process that does not run."""
    return DRIVERS[process.driver].why_stopped(plan, process, environ=environ)


def misconfigurations(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> tuple[Finding, ...]:
    """Return what is dangerous about how a process manager is configured for a process; nothing for our own."""
    return DRIVERS[process.driver].misconfigurations(plan, process, environ=environ)
