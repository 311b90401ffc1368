"""The dispatcher to the drivers of processes: every caller goes through here, and the plan names the driver.

A driver is a module with the functions of :class:`DriverModule`: `command`, `supervisor`, `systemd` or `external`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from migrator.errors import RefusedError
from migrator.inventory.in_place import undefined
from migrator.plan.model import Plan
from migrator.plan.processes import Driver, Process, Role
from migrator.report import Finding
from migrator.wire.message import Side, System
from migrator.workers.drivers import command, external, supervisor, systemd, terminate
from migrator.workers.drivers.process_identity import Identity
from migrator.workers.drivers.process_record import ProcessRecord


class DriverModule(Protocol):
    """The functions of a driver."""

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
    Driver.EXTERNAL: external,
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
    if process.driver is Driver.EXTERNAL:
        # It runs another tree, that of its release.
        return
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
    family = signal_stop(plan, process, environ=environ)
    return wait_stopped(plan, process, family, environ=environ, timeout_s=timeout_s)


def wait_stopped(
    plan: Plan,
    process: Process,
    family: Iterable[Identity],
    *,
    environ: Mapping[str, str],
    timeout_s: float | None = None,
) -> float:
    """Wait until a process that was told to stop has ended with its family; returns the seconds it took.

    Raises:
        UnreachableError: It is still there after its stop timeout.
    """
    if process.driver is Driver.EXTERNAL:
        return external.wait_gone(plan, process, environ=environ, timeout_s=timeout_s)
    return terminate.wait_stopped(process, family, timeout_s=timeout_s)


def why_stopped(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> str:
    """Return what is known about a process that does not run."""
    return DRIVERS[process.driver].why_stopped(plan, process, environ=environ)


def asked(plan: Plan, process: Process, verb: str, *, environ: Mapping[str, str]) -> str:
    """Return what the operator is asked for, ``start`` or ``stop``, and what is awaited; empty if nothing."""
    is_ours = process.driver is not Driver.EXTERNAL
    return "" if is_ours else external.request(plan, process, verb, environ=environ)


def misconfigurations(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> tuple[Finding, ...]:
    """Return what is dangerous about how a process manager is configured for a process; nothing for our own."""
    return DRIVERS[process.driver].misconfigurations(plan, process, environ=environ)
