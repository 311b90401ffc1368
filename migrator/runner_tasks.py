"""Move single tasks: their waiting messages go over or back while everything else goes on as it was.

Legacy workers keep running and keep what they have taken; unified workers run beside them. Callers decide by their
own code which side they send to: a task is moved for good when its callers are converted. A full cutover afterwards
takes what is left, and its rollback brings everything back.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from migrator.errors import MigratorError, RefusedError, UsageError
from migrator.events import Event, EventKind
from migrator.journal import Entry, Mark, Phase, entry
from migrator.plan import Plan, Role, Side
from migrator.report import merge
from migrator.runner_report import ActionResult, RunOutcome, RunReport, StepResult
from migrator.runner_state import MigrationState, read_state
from migrator.runner_summary import refusal_code
from migrator.steps import Action, Context
from migrator.steps.guards import brokers, database, messages, source
from migrator.steps.migrate_database import actions as database_actions
from migrator.steps.process_actions import start_actions
from migrator.steps.protocol import processes
from migrator.steps.transfer import move
from migrator.transfer_options import Direction

STEP = "tasks"


def moved_tasks(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Return the unified names of the tasks that were moved on their own and have not come back."""
    moved: dict[str, None] = {}
    for line in entries:
        if line.mark is Mark.RUN_DONE:
            moved.clear()
        elif line.step == STEP and line.mark is Mark.DONE:
            for name in line.data.get("tasks", ()):
                if line.phase is Phase.FORWARD:
                    moved[name] = None
                else:
                    moved.pop(name, None)
    return tuple(moved)


def move_tasks(context: Context, phase: Phase) -> RunReport:
    """Move the tasks of ``context.options.tasks`` over or back.

    Raises:
        UsageError: The plan has no such task.
        RefusedError: A whole run is under way or done, so single tasks can't be told apart any more.
    """
    names = unified_names(context.plan, context.options.tasks)
    state = read_state(context.journal.entries())
    if state.state not in (MigrationState.LEGACY, MigrationState.ROLLED_BACK):
        raise RefusedError(
            f"run {state.run}", "moves everything", found=state.state.value, remedy="finish it or roll it back first"
        )
    context = replace(context, run=state.run, options=replace(context.options, tasks=names))
    guards = [database.guard(context), brokers.guard(context)]
    if phase is Phase.FORWARD:
        guards += [source.guard(context), messages.guard(context)]
    looked = merge("preflight", guards)
    actions = _actions(context, phase)
    command = "cutover" if phase is Phase.FORWARD else "rollback"
    report = RunReport(
        command=command,
        run=state.run,
        outcome=RunOutcome.REFUSED,
        exit_code=refusal_code(looked.errors),
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
            some = ", ".join(task.name for task in plan.tasks[:3])
            raise UsageError(f"--task {name}", "the plan has no such task", found=f"it has {some} …")
        found += known
    return tuple(dict.fromkeys(found))


def _actions(context: Context, phase: Phase) -> tuple[Action, ...]:
    names = context.options.tasks
    direction = Direction.FORWARD if phase is Phase.FORWARD else Direction.BACK
    run = partial(move, context, direction, owners_dead=False)
    moving = Action(id=f"move:{','.join(names)}", sentence=_title(names, phase), run=run)
    if phase is Phase.BACK:
        return (moving,)
    workers = processes(context, Side.UNIFIED, Role.WORKER)
    return (*database_actions(context), *start_actions(context, workers), moving)


def _execute(context: Context, phase: Phase, actions: tuple[Action, ...], report: RunReport) -> RunReport:
    began, results = time.monotonic(), []
    names = context.options.tasks
    context.listener(Event(kind=EventKind.STEP_STARTED, step=STEP, text=_title(names, phase)))
    facts = {}
    for action in actions:
        started = time.monotonic()
        context.listener(Event(kind=EventKind.ACTION, step=STEP, text=action.sentence, total=1))
        try:
            facts = dict(action.run() or {})
        except MigratorError as failure:
            context.journal.write(entry(context.run, phase, Mark.FAILED, STEP, action=action.id, text=str(failure)))
            text = f"{failure}\nnothing has to be taken back: the same command goes on"
            return replace(report, outcome=RunOutcome.STOPPED, exit_code=failure.exit_code, failure=text)
        elapsed_s = time.monotonic() - started
        results.append(ActionResult(id=action.id, sentence=action.sentence, outcome="done", elapsed_s=elapsed_s))
    context.journal.write(entry(context.run, phase, Mark.DONE, STEP, data={**facts, "tasks": names}))
    elapsed_s = time.monotonic() - began
    context.listener(Event(kind=EventKind.STEP_FINISHED, step=STEP, text=_title(names, phase), elapsed_s=elapsed_s))
    step = StepResult(
        name=STEP, title=_title(names, phase), outcome="done", elapsed_s=elapsed_s, actions=tuple(results)
    )
    still = moved_tasks(context.journal.entries())
    return replace(
        report,
        outcome=RunOutcome.DONE,
        steps=(step,),
        moved=int(facts["moved"]),
        kept=int(facts["kept"]),
        reasons=facts["reasons"],
        elapsed_s=elapsed_s,
        notes=(f"moved on their own: {', '.join(still) or 'none'}",),
        next_steps=("migrator status", "migrator cutover"),
    )


def _title(names: Iterable[str], phase: Phase) -> str:
    where = "to the unified queues" if phase is Phase.FORWARD else "back to the legacy queues"
    return f"carry the waiting messages of {', '.join(names)} {where}"
