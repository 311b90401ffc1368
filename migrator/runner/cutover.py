"""Take the lock, run the steps, write the journal; go on after a crash; undo everything when a step fails.

One run is a cutover with its rollback. Three functions: :func:`cutover`, :func:`rollback`, :func:`status`.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from migrator.errors import InterruptedRunError, RefusedError, UsageError
from migrator.events import Event, EventKind, Listener, ignore
from migrator.plan.model import Plan
from migrator.report import Report, merge
from migrator.runner.execute import StepFailedError, planned, run_all_back, run_forward
from migrator.runner.held_run import held_run, run_elsewhere
from migrator.runner.quiet_period import by_task
from migrator.runner.report import RunOutcome, RunReport, StepResult
from migrator.runner.restart_legacy import restart_legacy
from migrator.runner.resume_checks import begun_with, require_same_places, require_same_plan, require_same_source
from migrator.runner.single_tasks import move_tasks, tell_moves
from migrator.runner.state import MigrationState, RunState, read_state
from migrator.runner.status import MigrationStatus, next_commands, read_status, tell_elsewhere, tell_stage
from migrator.runner.summary import refusal_code, refused, summarize, unchanged
from migrator.state.journal import EntryKind, Journal, Phase, entry, open_journal
from migrator.steps import migrate_database
from migrator.steps.actions.downtime import moment
from migrator.steps.actions.hooks import require_hooks
from migrator.steps.guards.source import clean_tree
from migrator.steps.order import ROLLBACK, STEPS, step_named
from migrator.steps.protocol import STAYING, Context, RunOptions
from migrator.steps.transfer import PARKS, move
from migrator.transfer.options import Direction
from migrator.workers.start_stop import list_processes


def cutover(
    plan: Plan, *, environ: Mapping[str, str], options: RunOptions | None = None, listener: Listener = ignore
) -> RunReport:
    """Move the system to the unified side, or go on with a run that was interrupted.

    A step that fails is undone with everything before it, unless ``options.no_undo``.

    Raises:
        RefusedError: Another run is going on, the plan changed in mid-run, or a rollback has been begun.
        InterruptedRunError: It was interrupted; the same command continues.
    """
    context = _context(plan, environ, open_journal(plan), options or RunOptions(), listener)
    _require_step(context.options.until)
    require_hooks(context.options.hooks, (step.name for step in STEPS[1:]))
    if context.options.tasks:
        return _single_tasks(context, Phase.FORWARD)
    if context.options.dry_run:
        return _dry_cutover(context)
    with held_run(context, "cutover") as (held, taken_over), _interruptible():
        state = read_state(held.journal.entries())
        context = replace(held, run=state.run)
        require_same_plan(plan, state)
        if state.state is MigrationState.ROLLING_BACK:
            remedy = "`migrator rollback` goes on"
            raise RefusedError(f"run {state.run}", "is being rolled back", found=f"at {state.step}", remedy=remedy)
        if state.state is MigrationState.COMPLETED:
            return unchanged("cutover", state, "the migration is complete")
        if state.state in (MigrationState.MIGRATED, MigrationState.MIGRATING):
            require_same_places(context, state)
        if state.state is MigrationState.MIGRATED:
            return _sweep(context, state)
        if state.state is MigrationState.MIGRATING:
            require_same_source(context, state)
        else:
            context = replace(context, run=state.run + 1)
        _note_takeover(context, Phase.FORWARD, taken_over)
        return _resumable(context, Phase.FORWARD, lambda: _forward(context, fresh=context.run != state.run))


def rollback(
    plan: Plan, *, environ: Mapping[str, str], options: RunOptions | None = None, listener: Listener = ignore
) -> RunReport:
    """Undo what the last run has done, messages that were enqueued since included.

    Raises:
        RefusedError: Another run is going on, the plan changed, or the one-way door is behind us.
        InterruptedRunError: It was interrupted; the same command continues.
    """
    context = _context(plan, environ, open_journal(plan), options or RunOptions(), listener)
    require_hooks(context.options.hooks, (step.name for step in STEPS[1:]))
    if context.options.tasks:
        return _single_tasks(context, Phase.BACK)
    if context.options.dry_run:
        return _dry_rollback(context)
    with held_run(context, "rollback") as (held, taken_over), _interruptible():
        state = read_state(held.journal.entries())
        require_same_plan(plan, state)
        if state.state is MigrationState.COMPLETED:
            remedy = "`migrator restore FILE` puts the messages of a snapshot back"
            raise RefusedError(f"run {state.run}", "is complete: it can't be rolled back", remedy=remedy)
        if state.state in (MigrationState.LEGACY, MigrationState.ROLLED_BACK):
            return unchanged("rollback", state, "there is nothing to roll back")
        context = replace(held, run=state.run)
        require_same_places(context, state)
        _note_takeover(context, Phase.BACK, taken_over)
        return _resumable(context, Phase.BACK, lambda: _rollback(context, state))


def status(plan: Plan, *, environ: Mapping[str, str], options: RunOptions | None = None) -> MigrationStatus:
    """Return where the migration stands, what waits where, and which command is next. Changes nothing.

    Args:
        options: Its checks say how far a cutover is prepared; without them, only what the journal tells is told.
    """
    entries = open_journal(plan).entries()
    if (there := run_elsewhere(plan, environ)) is not None:
        return tell_elsewhere(read_status(plan, environ=environ, state=read_state(())), *there)
    found = tell_moves(read_status(plan, environ=environ, state=read_state(entries)), entries)
    return found if options is None else tell_stage(found, plan, environ=environ, options=options)


def _sweep(context: Context, state: RunState) -> RunReport:
    """Transfer what somebody has sent to the legacy queues since; a migrated system needs nothing else."""
    facts = dict(move(context, Direction.FORWARD, consumers_stopped=False))
    context.journal.write(entry(context.run, Phase.FORWARD, EntryKind.NOTE, "transfer", text="sweep", data=facts))
    found = f"{facts['moved']} late messages were transferred ({by_task(facts['by_task'])}): somebody still sends"
    late = f"; {found}" if facts["moved"] or facts["quarantined"] else ""
    report = unchanged("cutover", state, f"the system is migrated already{late}")
    return replace(report, moved=int(facts["moved"]), quarantined=int(facts["quarantined"]), reasons=facts["reasons"])


def _single_tasks(context: Context, phase: Phase) -> RunReport:
    if context.options.dry_run:
        return move_tasks(context, phase)
    with held_run(context, "tasks") as (held, _), _interruptible():
        return move_tasks(held, phase)


def _forward(context: Context, *, fresh: bool) -> RunReport:
    began = time.monotonic()
    looked = Report(subject="preflight", checked=1)
    if fresh:
        looked = _preflight(context)
        if looked.errors:
            return refused(context, "cutover", looked)
        states = list_processes(context.plan, environ=context.environ)
        running = [state.name for state in states if state.runs]
        data = {
            "running": running,
            STAYING: looked.facts.get(STAYING, ()),
            **begun_with(context.plan, environ=context.environ),
            PARKS: looked.facts[PARKS],
        }
        context.journal.write(entry(context.run, Phase.FORWARD, EntryKind.RUN_BEGUN, data=data))
    report = _forward_steps(context, began)
    return replace(report, findings=looked.findings + report.findings, facts=looked.facts)


def _preflight(context: Context) -> Report:
    step, began = STEPS[0], time.monotonic()
    context.listener(Event(kind=EventKind.STEP_STARTED, step=step.name, text=step.title))
    report = step.check(context)
    kind = EventKind.STEP_FAILED if report.errors else EventKind.STEP_FINISHED
    context.listener(Event(kind=kind, step=step.name, text=step.title, elapsed_s=time.monotonic() - began))
    return report


def _forward_steps(context: Context, began: float) -> RunReport:
    results: list[StepResult] = []
    try:
        for step in STEPS[1:]:
            results.append(run_forward(context, step))
            if step.name == context.options.until and step is not STEPS[-1]:
                return summarize(context, "cutover", RunOutcome.PAUSED, results, began=began)
    except StepFailedError as failure:
        failed = StepResult(name=failure.step.name, title=failure.step.title, outcome="failed")
        report = _after_failure(context, failure, [*results, failed], began=began)
        return replace(report, findings=failure.report.findings if failure.report is not None else ())
    context.journal.write(entry(context.run, Phase.FORWARD, EntryKind.RUN_DONE, data={"moment": moment()}))
    return summarize(context, "cutover", RunOutcome.DONE, results, began=began)


def _after_failure(context: Context, failure: StepFailedError, results: list[StepResult], *, began: float) -> RunReport:
    undone: list[StepResult] = []
    outcome, text = RunOutcome.STOPPED, str(failure)
    if not context.options.no_undo:
        context.listener(Event(kind=EventKind.NOTE, step=failure.step.name, text=f"{failure}; everything is undone"))
        try:
            undone = _back(context, read_state(context.journal.entries()))
            outcome = RunOutcome.UNDONE
        except StepFailedError as second:
            text = f"{failure}\nthe rollback failed too: {second}"
    report = summarize(context, "cutover", outcome, results, began=began)
    return replace(report, undone=tuple(undone), failure=text, exit_code=failure.exit_code)


def _rollback(context: Context, state: RunState) -> RunReport:
    began = time.monotonic()
    looked = Report(subject="rollback", checked=1)
    if state.state is not MigrationState.ROLLING_BACK and "source" in state.begun:
        check = context.options.check_undo_source
        looked = merge("rollback", [clean_tree(context), *([check()] if check is not None else [])])
        if looked.errors:
            return refused(context, "rollback", looked)
    try:
        results = _back(context, state)
    except StepFailedError as failure:
        stopped = summarize(context, "rollback", RunOutcome.STOPPED, [], began=began)
        return replace(stopped, failure=str(failure), exit_code=failure.exit_code)
    done = summarize(context, "rollback", RunOutcome.DONE, results, began=began)
    return replace(done, findings=looked.findings, facts=looked.facts)


def _back(context: Context, state: RunState) -> list[StepResult]:
    if state.state is not MigrationState.ROLLING_BACK:
        context.journal.write(entry(context.run, Phase.BACK, EntryKind.RUN_BEGUN, data={"undo": state.begun}))
    with ExitStack() as stack:
        if migrate_database.NAME in state.begun and migrate_database.NAME not in state.undone:
            context = stack.enter_context(migrate_database.undo_prepared(context))
        results = run_all_back(context, [step for step in ROLLBACK if step.name in state.begun])
    restart_legacy(context)
    context.journal.write(entry(context.run, Phase.BACK, EntryKind.RUN_DONE))
    return results


def _dry_cutover(context: Context) -> RunReport:
    state = read_state(context.journal.entries())
    context = replace(context, run=max(1, state.run if state.state is MigrationState.MIGRATING else state.run + 1))
    report = _preflight(context)
    context = replace(context, stays=tuple(report.facts.get(STAYING, ())))
    results = [planned(step, step.actions(context)) for step in STEPS[1:]]
    result = summarize(context, "cutover", RunOutcome.PLANNED, results, began=time.monotonic())
    return replace(result, findings=report.findings, facts=report.facts, exit_code=refusal_code(report.errors))


def _dry_rollback(context: Context) -> RunReport:
    state = read_state(context.journal.entries())
    if state.state in (MigrationState.LEGACY, MigrationState.ROLLED_BACK):
        return unchanged("rollback", state, "there is nothing to roll back")
    require_same_places(context, state)
    back = [step for step in ROLLBACK if step.name in state.begun]
    results = [planned(step, step.undo(context) + step.undo_late(context)) for step in back]
    return summarize(context, "rollback", RunOutcome.PLANNED, results, began=time.monotonic())


def _context(
    plan: Plan, environ: Mapping[str, str], journal: Journal, options: RunOptions, listener: Listener
) -> Context:
    run = read_state(journal.entries()).run
    return Context(plan=plan, environ=environ, journal=journal, run=run, options=options, listener=listener)


def _require_step(name: str) -> None:
    if name == STEPS[0].name:
        remedy = "`migrator cutover --dry-run` does it alone"
        raise UsageError(f"--until {name}", "is no step to stop after: it changes nothing", remedy=remedy)
    if name and step_named(name) is None:
        names = f"steps are {', '.join(step.name for step in STEPS[1:])}"
        raise UsageError(f"--until {name}", "there is no such step", found=names)


def _note_takeover(context: Context, phase: Phase, text: str) -> None:
    if text:
        context.listener(Event(kind=EventKind.NOTE, step="", text=text))
        if context.journal.entries(context.run):
            context.journal.write(entry(context.run, phase, EntryKind.NOTE, text=text))


def _resumable(context: Context, phase: Phase, work: Callable[[], RunReport]) -> RunReport:
    try:
        return work()
    except KeyboardInterrupt:
        state = read_state(context.journal.entries())
        if state.run == context.run:
            context.journal.write(entry(context.run, phase, EntryKind.RUN_INTERRUPTED))
        raise InterruptedRunError(
            f"run {context.run}",
            "was interrupted; everything that was done is recorded",
            found=f"at step {state.step}" if state.step else "before the first step",
            remedy=" or ".join(next_commands(state)),
        ) from None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the run as Ctrl-C does; only the main thread gets signals."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
