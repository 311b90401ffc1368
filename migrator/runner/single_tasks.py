"""Move single tasks: their waiting messages go over or back while everything else goes on as it was.

Legacy workers keep running and keep what they have taken; unified workers run beside them. Callers decide by their
own code which side they send to: a task is moved for good when its callers are converted. A full cutover afterwards
takes what is left, and its rollback brings everything back.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from migrator.errors import ExitCode, InterruptedRunError, MigratorError, RefusedError, UsageError, did_you_mean
from migrator.events import Event, EventKind
from migrator.plan.model import Plan
from migrator.plan.processes import Role
from migrator.report import merge
from migrator.runner.attempt import attempt
from migrator.runner.report import ActionResult, RunOutcome, RunReport, StepResult
from migrator.runner.state import MigrationState, read_state
from migrator.runner.status import MigrationStatus
from migrator.runner.summary import refusal_code
from migrator.state.journal import EntryKind, JournalEntry, Phase, entry
from migrator.steps.actions.hooks import SINGLE_TASKS, call_hook
from migrator.steps.actions.process_actions import start_actions
from migrator.steps.guards import brokers, database, messages, source
from migrator.steps.migrate_database import actions as database_actions
from migrator.steps.protocol import Action, Context, RunOptions, processes
from migrator.steps.transfer import move
from migrator.transfer.options import Direction
from migrator.wire.message import Side, State

STEP = SINGLE_TASKS


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskMoves:
    """What has become of single tasks, by unified name."""

    #: Moved on their own, and not come back.
    moved: tuple[str, ...] = ()
    #: Tasks whose move was begun and has not ended, by the way they were going.
    begun: Mapping[str, Phase] = field(default_factory=dict)

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands that go on with what was begun."""
        ways = dict.fromkeys(self.begun.values())
        return tuple(command_of(phase, (n for n, way in self.begun.items() if way is phase)) for phase in ways)


def read_moves(entries: Iterable[JournalEntry]) -> TaskMoves:
    """Return what the journal tells of single tasks; a whole run takes them along, forward and back."""
    moved: dict[str, None] = {}
    begun: dict[str, Phase] = {}
    for line in entries:
        if line.mark is EntryKind.RUN_DONE:
            moved.clear()
            begun.clear()
        elif line.step == STEP and line.mark in (EntryKind.STARTED, EntryKind.DONE):
            for name in line.data.get("tasks", ()):
                begun.pop(name, None)
                if line.mark is EntryKind.STARTED:
                    begun[name] = line.phase
                elif line.phase is Phase.FORWARD:
                    moved[name] = None
                else:
                    moved.pop(name, None)
    return TaskMoves(moved=tuple(moved), begun=begun)


def moved_tasks(entries: Iterable[JournalEntry]) -> tuple[str, ...]:
    """Return the unified names of the tasks that were moved on their own and have not come back."""
    return read_moves(entries).moved


def command_of(phase: Phase, names: Iterable[str]) -> str:
    """Return the command that moves these tasks."""
    command = "cutover" if phase is Phase.FORWARD else "rollback"
    return " ".join([f"migrator {command}", *(f"--task {name}" for name in names)])


def tell_moves(status: MigrationStatus, entries: Iterable[JournalEntry]) -> MigrationStatus:
    """Return a status that also says what has become of single tasks."""
    moves = read_moves(entries)
    if status.state not in (MigrationState.LEGACY, MigrationState.ROLLED_BACK):
        return replace(status, moved_tasks=moves.moved)
    parts = [status.text]
    if moves.moved:
        parts.append(f"moved on their own: {', '.join(moves.moved)}")
    if moves.begun:
        by = f"by {status.owner}" if status.owner else "interrupted: nobody is at it"
        parts.append(f"half way: {', '.join(moves.begun)}, {by}")
    ends = status.ends if status.owner or not moves.begun else tuple(f"`{text}` goes on" for text in moves.commands)
    return replace(
        status,
        text="; ".join(parts),
        moved_tasks=moves.moved,
        begun_tasks=tuple(moves.begun),
        ends=ends,
        next_steps=status.next_steps if status.owner else (*moves.commands, *status.next_steps),
    )


def move_tasks(context: Context, phase: Phase) -> RunReport:
    """Move the tasks of ``context.options.tasks`` over or back.

    Raises:
        UsageError: The plan has no such task, or an option goes with whole runs only.
        RefusedError: A whole run is under way or done, so single tasks can't be told apart any more.
        InterruptedRunError: It was interrupted; the same command continues.
    """
    names = unified_names(context.plan, context.options.tasks)
    _require_plain(context.options)
    state = read_state(context.journal.entries())
    if state.state not in (MigrationState.LEGACY, MigrationState.ROLLED_BACK):
        raise RefusedError(
            f"run {state.run}", "moves everything", found=state.state.value, remedy="finish it or roll it back first"
        )
    context = replace(context, run=state.run, options=replace(context.options, tasks=names))
    try:
        return _looked_at_and_moved(context, phase)
    except KeyboardInterrupt:
        begun = read_moves(context.journal.entries()).begun
        what = "was interrupted; what has moved is recorded" if begun else "was interrupted before anything moved"
        remedy = f"`{command_of(phase, names)}` goes on"
        raise InterruptedRunError(f"--task {' '.join(names)}", what, remedy=remedy) from None


def _require_plain(options: RunOptions) -> None:
    whole = {"--until": options.until, "--postpone-file": options.postpone_file, "--no-undo": options.no_undo}
    given = [name for name, value in whole.items() if value]
    if given:
        what = "nothing is stopped for a single task, and nothing is undone by itself"
        raise UsageError(f"--task with {', '.join(given)}", what, remedy=f"leave out {', '.join(given)}")


def _looked_at_and_moved(context: Context, phase: Phase) -> RunReport:
    names = context.options.tasks
    guards = [database.guard(context), brokers.guard(context)]
    if phase is Phase.FORWARD:
        guards += [source.guard(context), messages.guard(context)]
    looked = merge("preflight", guards)
    actions = _actions(context, phase)
    report = RunReport(
        command="cutover" if phase is Phase.FORWARD else "rollback",
        run=context.run,
        outcome=RunOutcome.REFUSED,
        exit_code=refusal_code(looked.errors),
        tasks=names,
        findings=looked.findings,
        facts=looked.facts,
    )
    if context.options.dry_run:
        planned = tuple(ActionResult(id=a.id, sentence=a.sentence, outcome="planned") for a in actions)
        step = StepResult(name=STEP, title=_title(names, phase), outcome="planned", actions=planned)
        return replace(report, outcome=RunOutcome.PLANNED, steps=(step,))
    if looked.errors:
        return replace(report, failure=f"{len(looked.errors)} findings of the preflight forbid it; nothing was changed")
    return _execute(context, phase, actions, report)


def unified_names(plan: Plan, names: Iterable[str]) -> tuple[str, ...]:
    """Return unified task names for unified or legacy ones.

    Raises:
        UsageError: The plan has no such task.
    """
    found = []
    for name in names:
        known = [task.name for task in plan.tasks if name in (task.name, *(m.name for m in task.replaces))]
        if not known:
            every = [each for task in plan.tasks for each in (task.name, *(m.name for m in task.replaces))]
            remedy = did_you_mean(name, every) or f"it has {', '.join(task.name for task in plan.tasks[:3])} …"
            raise UsageError(f"--task {name}", "the plan has no such task", remedy=remedy)
        found += known
    return tuple(dict.fromkeys(found))


def _actions(context: Context, phase: Phase) -> tuple[Action, ...]:
    names = context.options.tasks
    direction = Direction.FORWARD if phase is Phase.FORWARD else Direction.BACK
    run = partial(move, context, direction, consumers_stopped=False)
    moving = Action(id=f"move:{','.join(names)}", sentence=_title(names, phase), run=run)
    if phase is Phase.BACK:
        return (moving,)
    workers = processes(context, Side.UNIFIED, Role.WORKER)
    return (*database_actions(context), *start_actions(context, workers), moving)


def _execute(context: Context, phase: Phase, actions: tuple[Action, ...], report: RunReport) -> RunReport:
    began, results, facts = time.monotonic(), [], {}
    names, title = context.options.tasks, _title(context.options.tasks, phase)
    context.listener(Event(kind=EventKind.STEP_STARTED, step=STEP, text=title))
    way = "" if phase is Phase.FORWARD else "undo-"
    try:
        call_hook(context, f"before-{way}{STEP}")
        context.journal.write(entry(context.run, phase, EntryKind.STARTED, STEP, text=title, data={"tasks": names}))
        for action in actions:
            started = time.monotonic()
            context.listener(Event(kind=EventKind.ACTION, step=STEP, text=action.sentence, total=1))
            facts = dict(attempt(STEP, action))
            elapsed_s = time.monotonic() - started
            results.append(ActionResult(id=action.id, sentence=action.sentence, outcome="done", elapsed_s=elapsed_s))
        if phase is Phase.FORWARD:
            call_hook(context, f"after-{STEP}")
    except InterruptedRunError:
        raise
    except MigratorError as failure:
        context.journal.write(entry(context.run, phase, EntryKind.FAILED, STEP, text=str(failure)))
        text = f"{failure}\nnothing has to be undone: `{command_of(phase, names)}` goes on"
        return replace(report, outcome=RunOutcome.STOPPED, exit_code=failure.exit_code, failure=text)
    context.journal.write(entry(context.run, phase, EntryKind.DONE, STEP, data={**facts, "tasks": names}))
    elapsed_s = time.monotonic() - began
    context.listener(Event(kind=EventKind.STEP_FINISHED, step=STEP, text=title, elapsed_s=elapsed_s))
    step = StepResult(name=STEP, title=title, outcome="done", elapsed_s=elapsed_s, actions=tuple(results))
    moves = read_moves(context.journal.entries())
    back = (command_of(Phase.BACK, names),) if phase is Phase.FORWARD else ()
    return replace(
        report,
        outcome=RunOutcome.DONE,
        exit_code=ExitCode.CLEAN,
        steps=(step,),
        moved=int(facts["moved"]),
        quarantined=int(facts["quarantined"]),
        reasons=facts["reasons"],
        elapsed_s=elapsed_s,
        notes=(f"moved on their own: {', '.join(moves.moved) or 'none'}", *_held(facts, phase)),
        next_steps=("migrator status", *moves.commands, *back, "migrator cutover"),
    )


def _held(facts: Mapping[str, Any], phase: Phase) -> tuple[str, ...]:
    """Say that running workers keep what they have taken: it runs where it is."""
    held = sum(int(number) for place, number in facts.get("left", {}).items() if place.endswith(State.CLAIMED.value))
    side = "legacy" if phase is Phase.FORWARD else "unified"
    return (f"{held:,} messages, of whatever task, are in the hands of {side} workers and run there",) if held else ()


def _title(names: Iterable[str], phase: Phase) -> str:
    where = "to the unified queues" if phase is Phase.FORWARD else "back to the legacy queues"
    return f"transfer the waiting messages of {', '.join(names)} {where}"
