"""Actions that several steps share: start processes and wait for them, stop them and wait for that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from functools import partial
from importlib import import_module

from migrator.errors import UnreachableError
from migrator.plan.model import Plan
from migrator.plan.processes import Driver, Process
from migrator.report import Finding, Report
from migrator.steps.actions.downtime import moment
from migrator.steps.protocol import Action, Context, Facts, error, findings_report, note
from migrator.workers import drain
from migrator.workers.drivers.process_identity import descendants
from migrator.workers.kill import kill, stuck
from migrator.workers.kill_impact import consequences
from migrator.workers.processes import asked, current, start, stop
from migrator.workers.readiness import missing_for, wait_ready
from migrator.workers.start_stop import state_of


def start_actions(context: Context, processes: Iterable[Process]) -> tuple[Action, ...]:
    """Return actions that start all processes at once and then wait for each."""
    chosen = tuple(processes)
    started: set[str] = set()
    return launch_actions(context, chosen, started) + ready_actions(context, chosen, started)


def launch_actions(context: Context, processes: Iterable[Process], started: set[str]) -> tuple[Action, ...]:
    """Return actions that start processes, whose names they add to ``started``, and don't wait for them."""
    return tuple(
        Action(
            id=f"start:{process.name}",
            sentence=f"start {process.name}",
            run=partial(_start, context, process, started),
        )
        for process in processes
    )


def ready_actions(context: Context, processes: Iterable[Process], started: Set[str]) -> tuple[Action, ...]:
    """Return actions that wait for processes; one that is not among ``started`` and has ended is started again."""
    return tuple(
        Action(
            id=f"ready:{process.name}",
            sentence=f"wait until {process.name} is ready, at most {context.options.ready_timeout_s:g} s",
            run=partial(_ready, context, process, started),
        )
        for process in processes
    )


def stop_actions(context: Context, processes: Iterable[Process], *, told_before: bool = False) -> tuple[Action, ...]:
    """Return actions that stop processes one after the other.

    Args:
        told_before: An earlier step has told them to stop; whether they are gone by now is only known then.
    """
    return tuple(
        Action(
            id=f"stop:{process.name}",
            sentence=f"wait until {process.name} is gone, at most {process.stop_timeout_s:g} s"
            if told_before
            else f"stop {process.name}{_pid(context, process)}, wait at most {process.stop_timeout_s:g} s",
            run=partial(_stop, context, process),
        )
        for process in processes
    )


def cancel_consumers(context: Context, step: str, process: Process) -> Facts:
    """Make a Celery worker take nothing more; the downtime begins here.

    A worker that we run ourselves and that does not answer does without: SIGTERM alone lets it finish its tasks and
    give the rest back, and what counts in the end is that it is gone. A process manager may signal its children as
    well, which loses their tasks, so there silence is a failure.
    """
    # The worker goes on while we import what it takes to talk to it.
    import_module("celery.app.control")
    began = moment()
    try:
        return {"began": began, "queues": drain.cancel_consumers(context.plan, process, environ=context.environ)}
    except UnreachableError as silence:
        if process.driver is not Driver.COMMAND:
            raise
        note(context, step, f"{silence}; going on with SIGTERM, which lets it finish")
        return {"began": began, "queues": (), "silent": str(silence)}


def wait_drained(context: Context, process: Process, consumers_cancelled: Facts) -> Facts:
    """Wait until a worker whose consumers are cancelled has finished its tasks.

    If it does not in its time, whoever is there is asked: with a yes the stop that follows breaks off what is left.
    """
    if consumers_cancelled.get("silent"):
        return {"drained_in_s": 0.0}
    try:
        return {"drained_in_s": round(drain.wait_idle(context.plan, process, environ=context.environ), 3)}
    except UnreachableError as cause:
        if not asked_to_kill(context, process, cause):
            raise
        return {"given_up": cause.found}


def verify_ready(context: Context, processes: Iterable[Process]) -> Report:
    """Report every process that is not running and ready."""
    chosen = tuple(processes)
    findings = []
    for process in chosen:
        record = current(context.plan, process, environ=context.environ)
        if record is None:
            missing = "it is not running"
        else:
            missing = missing_for(context.plan, process, record, environ=context.environ)
        if missing:
            findings.append(error("PROCESS-NOT-READY", f"process {process.name}", "is not ready", found=missing))
    return findings_report("processes are ready", findings, checked=max(1, len(chosen)))


def verify_stopped(context: Context, processes: Iterable[Process]) -> Report:
    """Report every process that still runs, and children without a parent."""
    chosen = tuple(processes)
    findings = [finding for process in chosen for finding in _still_there(context.plan, context, process)]
    return findings_report("processes have stopped", findings, checked=max(1, len(chosen)))


def _still_there(plan: Plan, context: Context, process: Process) -> tuple[Finding, ...]:
    state = state_of(plan, process, environ=context.environ)
    if state.state == "stopped":
        return ()
    pids = ", ".join(str(pid) for pid in (state.pid, *state.children) if pid)
    return (
        error(
            "PROCESS-NOT-STOPPED",
            f"process {process.name}",
            f"is {state.state}",
            found=f"pid {pids}" if pids else state.node,
            remedy=f"migrator workers stop {process.side.value} --name {process.name}",
        ),
    )


def _start(context: Context, process: Process, started: set[str]) -> Facts:
    ask_operator(context, process, "start")
    record = start(context.plan, process, environ=context.environ)
    started.add(process.name)
    return {"pid": record.pid, "node": record.node}


def ask_operator(context: Context, process: Process, verb: str) -> None:
    """Ask the operator for what the plan has no command for."""
    request = asked(context.plan, process, verb, environ=context.environ)
    if request:
        note(context, f"{verb}_{process.role.value}", request)


def _ready(context: Context, process: Process, started: Set[str]) -> Facts:
    """Wait for a process; one that an earlier attempt started and that has ended since is started again."""
    if process.name not in started and current(context.plan, process, environ=context.environ) is None:
        start(context.plan, process, environ=context.environ)
    record = wait_ready(context.plan, process, environ=context.environ, timeout_s=context.options.ready_timeout_s)
    return {"pid": record.pid, "children": [child.pid for child in descendants(record.identity)], "ended": moment()}


def _stop(context: Context, process: Process) -> Facts:
    ask_operator(context, process, "stop")
    return stopped_or_killed(context, process, lambda: stop(context.plan, process, environ=context.environ))


def stopped_or_killed(context: Context, process: Process, wait: Callable[[], float]) -> Facts:
    """Wait until a process has ended; if it does not in its time, ask whether to kill it.

    Raises:
        UnreachableError: It runs, and nobody could be asked or the answer was no; says which command ends it.
    """
    try:
        return {"stopped_in_s": round(wait(), 3)}
    except UnreachableError as cause:
        if not asked_to_kill(context, process, cause):
            raise stuck(process, cause) from cause
        return {"killed_in_s": round(kill(context.plan, process, environ=context.environ), 3)}


def asked_to_kill(context: Context, process: Process, cause: UnreachableError) -> bool:
    """Put the question to whoever is there: what still runs, and what a kill would lose or repeat."""
    if context.options.ask_kill is None or process.driver is Driver.EXTERNAL:
        return False
    text = consequences(context.plan, process, environ=context.environ)
    return context.options.ask_kill(process, f"{cause.where} {cause.what} ({cause.found}). {text}")


def _pid(context: Context, process: Process) -> str:
    record = current(context.plan, process, environ=context.environ)
    return f" (pid {record.pid})" if record is not None and record.pid else ""
