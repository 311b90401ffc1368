"""Start, stop and list all processes of one side: what ``migrator workers`` and the demo do.

All processes of a side are told to stop before any is waited for. A Celery worker under a process manager is drained
first, because the manager may be less gentle than we are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from migrator.errors import MigratorError, UnreachableError
from migrator.events import Event, EventKind, Listener, ignore
from migrator.plan.model import Plan
from migrator.plan.processes import Driver, Process, Role
from migrator.wire.message import Side
from migrator.workers import drain
from migrator.workers.drivers.command import process_named
from migrator.workers.drivers.likeness import StrangerError
from migrator.workers.drivers.process_identity import Identity, age_s, descendants
from migrator.workers.drivers.process_record import ProcessRecord, living, read_record
from migrator.workers.kill import kill, stuck
from migrator.workers.processes import asked, current, signal_stop, start, wait_stopped
from migrator.workers.readiness import READY_TIMEOUT_S, wait_ready

#: Asked about a process that has not ended in its time: may it be killed?
AskStop = Callable[[Process], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
    """One process of the plan as it is now."""

    name: str
    side: Side
    role: Role
    #: ``running``, ``stopping``, ``stopped``, ``orphaned`` (the parent is gone, children are not), ``stranger`` (its
    #: pidfile or record names another process) or ``unknown``.
    state: str
    #: None when it does not run.
    pid: int | None = None
    children: tuple[int, ...] = ()
    node: str = ""
    #: Seconds since it started.
    age_s: float = 0.0
    log: str = ""
    #: Why it is a stranger.
    problem: str = ""

    @property
    def runs(self) -> bool:
        """Whether it runs, or has been told to stop and still runs."""
        return self.state in ("running", "stopping")


def list_processes(
    plan: Plan, *, environ: Mapping[str, str], problems: list[str] | None = None
) -> tuple[ProcessState, ...]:
    """Return every process of the plan, in plan order, and what is left of older ones: stopping, or orphaned.

    Args:
        problems: Collects why a process is unknown; without it a manager that can't be reached is an error.
    """
    states = [_known(plan, process, environ, problems) for process in plan.processes]
    now = {state.pid for state in states}
    by_name = {process.name: process for process in plan.processes}
    states += [
        _state(by_name[record.name], record, "stopping")
        for record in living(plan)
        if record.pid not in now and record.name in by_name
    ]
    states += [state for process in plan.processes for state in _left_behind(plan, process, now)]
    return tuple(states)


def state_of(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> ProcessState:
    """Return what a process is doing."""
    record = current(plan, process, environ=environ)
    if record is not None:
        return _state(process, record, "stopping" if record.stopping_at else "running")
    last = read_record(plan, process.name)
    orphans = last.living_children if last is not None else ()
    log = last.log if last is not None and Path(last.log).is_file() else ""
    return _without_parent(process, orphans, log)


def start_side(
    plan: Plan,
    side: Side,
    *,
    environ: Mapping[str, str],
    names: Sequence[str] = (),
    timeout_s: float = READY_TIMEOUT_S,
    listener: Listener = ignore,
) -> tuple[ProcessState, ...]:
    """Start the processes of one side, or those named, and wait until each is ready. Running ones stay as they are."""
    chosen = _chosen(plan, side, names)
    for process in chosen:
        _notify(listener, asked(plan, process, "start", environ=environ) or f"start {process.name}")
        start(plan, process, environ=environ)
    for process in chosen:
        wait_ready(plan, process, environ=environ, timeout_s=timeout_s)
        _notify(listener, f"{process.name} is ready")
    return tuple(state_of(plan, process, environ=environ) for process in chosen)


def stop_side(
    plan: Plan,
    side: Side,
    *,
    environ: Mapping[str, str],
    names: Sequence[str] = (),
    ask_kill: AskStop | None = None,
    listener: Listener = ignore,
) -> tuple[ProcessState, ...]:
    """Stop the processes of one side, or those named: schedulers and producers first, then workers.

    Args:
        ask_kill: Asked about each process that has not ended in its time; if the answer is yes, it is killed.
    """
    chosen = _chosen(plan, side, names)
    for process in chosen:
        # One that is a stranger's refuses the whole, before anybody is told to stop.
        current(plan, process, environ=environ)
    for is_worker in (False, True):
        group = [process for process in chosen if (process.role is Role.WORKER) is is_worker]
        for process in group:
            if process.driver is not Driver.COMMAND:
                _drain(plan, process, environ)
        for request in filter(None, (asked(plan, process, "stop", environ=environ) for process in group)):
            _notify(listener, request)
        families = [(process, signal_stop(plan, process, environ=environ)) for process in group]
        for process, family in families:
            _wait_stopped(plan, process, family, environ, ask_kill)
            _notify(listener, f"{process.name} has stopped")
    return tuple(state_of(plan, process, environ=environ) for process in chosen)


def _wait_stopped(
    plan: Plan, process: Process, family: Sequence[Identity], environ: Mapping[str, str], ask: AskStop | None
) -> None:
    try:
        wait_stopped(plan, process, family, environ=environ)
    except UnreachableError as cause:
        if process.driver is Driver.EXTERNAL or ask is None or not ask(process):
            raise stuck(process, cause) from cause
        kill(plan, process, environ=environ)


def _drain(plan: Plan, process: Process, environ: Mapping[str, str]) -> None:
    """Drain a Celery worker: we can't choose how its process manager stops it."""
    drain.cancel_consumers(plan, process, environ=environ)
    drain.wait_idle(plan, process, environ=environ)


def _chosen(plan: Plan, side: Side, names: Sequence[str]) -> tuple[Process, ...]:
    for name in names:
        process_named(plan, name)
    return tuple(process for process in plan.select(side=side) if not names or process.name in names)


def _known(plan: Plan, process: Process, environ: Mapping[str, str], problems: list[str] | None) -> ProcessState:
    try:
        return state_of(plan, process, environ=environ)
    except StrangerError as stranger:
        return ProcessState(
            name=process.name, side=process.side, role=process.role, state="stranger", problem=str(stranger)
        )
    except MigratorError as failure:
        if problems is None:
            raise
        if str(failure) not in problems:
            problems.append(str(failure))
        return ProcessState(name=process.name, side=process.side, role=process.role, state="unknown")


def _left_behind(plan: Plan, process: Process, running: set[int | None]) -> tuple[ProcessState, ...]:
    """Return the children that a predecessor of a running process has left behind, if there are any."""
    record = read_record(plan, process.name)
    if record is None or record.pid not in running or not record.living_orphans:
        return ()
    return (_without_parent(process, record.living_orphans, record.log),)


def _without_parent(process: Process, orphans: Sequence[Identity], log: str) -> ProcessState:
    return ProcessState(
        name=process.name,
        side=process.side,
        role=process.role,
        state="orphaned" if orphans else "stopped",
        children=tuple(orphan.pid for orphan in orphans),
        log=log,
    )


def _state(process: Process, record: ProcessRecord, state: str) -> ProcessState:
    return ProcessState(
        name=process.name,
        side=process.side,
        role=process.role,
        state=state,
        pid=record.pid or None,
        children=tuple(child.pid for child in descendants(record.identity)),
        node=record.node,
        age_s=age_s(record.identity) if record.pid else 0.0,
        log=record.log,
    )


def _notify(listener: Listener, text: str) -> None:
    listener(Event(kind=EventKind.NOTE, step="workers", text=text))
