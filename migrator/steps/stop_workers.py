"""Stop the legacy workers without losing what they have taken.

Celery workers first stop consuming, confirmed by reply, and finish; then all workers get SIGTERM, by pid and start
time, at the same moment. From the first of these signals on tasks wait: the downtime that the run reports begins here.
One that does not end in its time stops the run; on a terminal its fate is asked for, never taken for granted.
Undo starts those that ran before, or lets them consume again if they were not told to stop yet. In a rollback the
messages come back while they start: whoever is ready first begins with them.

Source: celery/apps/worker.py and dramatiq/cli.py: SIGTERM ends running tasks and gives the rest back to the queue.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from migrator.plan.processes import Process, Role
from migrator.report import Report
from migrator.state.journal import Phase
from migrator.steps.actions.downtime import moment
from migrator.steps.actions.process_actions import (
    ask_operator,
    cancel_consumers,
    launch_actions,
    ready_actions,
    stopped_or_killed,
    verify_stopped,
    wait_drained,
)
from migrator.steps.actions.revoked import note_actions, tell_again
from migrator.steps.protocol import (
    Action,
    Context,
    Facts,
    Step,
    error,
    findings_report,
    processes,
    ran_before,
    recorded,
)
from migrator.wire.message import Side, System
from migrator.workers import drain
from migrator.workers.drivers.process_identity import Identity, descendants
from migrator.workers.kill import kill
from migrator.workers.processes import current, signal_stop, wait_stopped
from migrator.workers.start_stop import state_of

NAME = "stop_workers"


def check(context: Context) -> Report:
    """Every unified worker is there to take over."""
    missing = [
        error("PROCESS-NOT-READY", f"process {process.name}", "is not running", remedy="migrator workers start")
        for process in processes(context, Side.UNIFIED, Role.WORKER)
        if current(context.plan, process, environ=context.environ) is None
    ]
    return findings_report("unified workers run", missing)


def actions(context: Context) -> tuple[Action, ...]:
    """Note the children, cancel consumers, drain, signal, wait."""
    workers = _workers(context)
    celery = [process for process in workers if process.system is System.CELERY]
    names = ", ".join(process.name for process in workers)
    return (
        Action(id="note", sentence=f"note the processes of {names}", run=partial(_note, context)),
        *(_each("cancel", "tell {} to take no more messages", _cancel_consumers, context, p) for p in celery),
        _signal_all(context, System.DRAMATIQ, "Dramatiq"),
        *(_each("drain", "wait until {} has finished its tasks", _drain, context, p) for p in celery),
        *note_actions(context, workers, context.plan.unified),
        _signal_all(context, System.CELERY, "Celery"),
        *(_each("gone", "wait until {} and its children are gone", _gone, context, p) for p in workers),
    )


def verify(context: Context) -> Report:
    """No legacy worker runs, and nobody alive holds a claimed message."""
    return verify_stopped(context, _workers(context))


def undo(context: Context) -> tuple[Action, ...]:
    """Let workers consume again that still run; start the others that ran before."""
    before = _ran_before(context)
    resume = tuple(
        Action(
            id=f"resume:{p.name}",
            sentence=f"let {p.name} take messages again, if it still runs",
            run=partial(_resume, context, p),
        )
        for p in before
        if p.system is System.CELERY
    )
    return resume + launch_actions(context, before, set())


def undo_late(context: Context) -> tuple[Action, ...]:
    """Wait until all of them are ready."""
    before = _ran_before(context)
    told = tell_again(context, context.plan.endpoint(System.CELERY)) if before else ()
    return (*ready_actions(context, before, frozenset()), *told)


def _ran_before(context: Context) -> tuple[Process, ...]:
    return tuple(process for process in _workers(context) if ran_before(context, process))


def _workers(context: Context) -> tuple[Process, ...]:
    return processes(context, Side.LEGACY, Role.WORKER)


def _each(
    verb: str, sentence: str, work: Callable[[Context, Process], Facts], context: Context, process: Process
) -> Action:
    return Action(
        id=f"{verb}:{process.name}", sentence=sentence.format(process.name), run=partial(work, context, process)
    )


def _signal_all(context: Context, system: System, name: str) -> Action:
    sentence = f"send SIGTERM to the {name} workers"
    return Action(id=f"signal:{system.value}", sentence=sentence, run=partial(_signal, context, system))


def _note(context: Context) -> Facts:
    families = {}
    for process in _workers(context):
        record = current(context.plan, process, environ=context.environ)
        if record is not None:
            family = (record.identity, *descendants(record.identity))
            families[process.name] = [(member.pid, member.start_ticks, member.boot_id) for member in family]
    return {"families": families}


def _cancel_consumers(context: Context, process: Process) -> Facts:
    return cancel_consumers(context, NAME, process)


def _drain(context: Context, process: Process) -> Facts:
    return wait_drained(context, process, recorded(context, NAME, f"cancel:{process.name}", phase=Phase.FORWARD))


def _signal(context: Context, system: System) -> Facts:
    began = moment()
    told = [process for process in _workers(context) if process.system is system]
    for process in told:
        ask_operator(context, process, "stop")
        signal_stop(context.plan, process, environ=context.environ)
    return {"told": [process.name for process in told], "began": began}


def _gone(context: Context, process: Process) -> Facts:
    noted = recorded(context, NAME, "note").get("families", {}).get(process.name, ())
    family = tuple(Identity(pid=pid, start_ticks=ticks, boot_id=boot) for pid, ticks, boot in noted)
    now = signal_stop(context.plan, process, environ=context.environ)
    everybody = tuple(dict.fromkeys((*family[:1], *now, *family[1:])))
    if recorded(context, NAME, f"drain:{process.name}").get("given_up"):
        # Somebody has said so: what it runs is broken off.
        return {"killed_in_s": round(kill(context.plan, process, environ=context.environ), 3)}
    return stopped_or_killed(context, process, lambda: _wait(context, process, everybody))


def _wait(context: Context, process: Process, family: tuple[Identity, ...]) -> float:
    return wait_stopped(context.plan, process, family, environ=context.environ)


def _resume(context: Context, process: Process) -> Facts:
    state = state_of(context.plan, process, environ=context.environ)
    if state.state != "running":
        return {"resumed": ()}
    queues = tuple(recorded(context, NAME, f"cancel:{process.name}").get("queues", ()))
    endpoint = context.plan.endpoint(System.CELERY)
    queues = queues or (endpoint.queues if endpoint is not None else ())
    drain.resume(context.plan, process, queues, environ=context.environ)
    return {"resumed": queues}


STEP = Step(
    name=NAME,
    title="Drain and stop the legacy workers",
    check=check,
    actions=actions,
    verify=verify,
    undo=undo,
    undo_late=undo_late,
)
