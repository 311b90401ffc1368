"""Where are we, what moves, what is waiting, what ends that, what comes next: for ``migrator status``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace

from migrator.brokers.connect import connect
from migrator.brokers.outside import outside_places, place_findings
from migrator.brokers.run_record import RunOwner
from migrator.errors import MigratorError
from migrator.plan.model import Plan
from migrator.report import Finding
from migrator.runner.carried import overdue_parked, waiting_carried
from migrator.runner.current_action import current_action, how_it_ends
from migrator.runner.preparation import Stage, preparation
from migrator.runner.quiet_period import QuietPeriod, quiet_period, reasons, utc
from migrator.runner.state import MigrationState, RunState
from migrator.state.journal import JournalEntry, open_journal
from migrator.state.progress import RunProgress, read_progress
from migrator.state.run_lock import lock_owner
from migrator.steps.order import ROLLBACK, STEPS
from migrator.steps.protocol import RunOptions
from migrator.workers.legacy_aliases import AliasHit
from migrator.workers.start_stop import ProcessState, list_processes


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationStatus:
    """Where the migration stands."""

    state: MigrationState
    #: Where in its life the migration is.
    stage: Stage = Stage.RUNNING
    #: Number of the last run; 0 if there has been none.
    run: int
    #: One sentence: ``migrating: at step transfer``.
    text: str
    #: Who is at it right now; empty if no command runs.
    owner: str
    #: What is under way, for how many seconds; empty if nothing is.
    current_action: str = ""
    current_action_s: float = 0.0
    #: What ends that, by itself or by a command.
    ends: tuple[str, ...] = ()
    #: How far messages have come, while they move.
    moving: RunProgress | None = None
    #: What the legacy aliases have caught, the latest first.
    alias_hits: tuple[AliasHit, ...] = ()
    #: What the quiet period before `complete` is made of, when all is migrated.
    quiet: tuple[str, ...] = ()
    #: When that part of it which is a matter of time ends, in seconds since the epoch.
    quiet_until: float = 0.0
    #: Steps done, forward or back.
    done: tuple[str, ...]
    #: Steps still to do, in order.
    left: tuple[str, ...]
    #: Messages by ``side.system queue state``, those with none left out.
    waiting: Mapping[str, int] = field(default_factory=dict)
    #: Where else messages wait, outside of the plan's queues.
    outside: tuple[Finding, ...] = ()
    processes: tuple[ProcessState, ...] = ()
    #: Unified names of the tasks that were moved on their own.
    moved_tasks: tuple[str, ...] = ()
    #: Those whose move, over or back, was begun and has not ended.
    begun_tasks: tuple[str, ...] = ()
    #: What could not be asked, and why.
    problems: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()


def read_status(plan: Plan, *, environ: Mapping[str, str], state: RunState) -> MigrationStatus:
    """Ask brokers and processes, and put it together with what the journal says."""
    problems: list[str] = []
    waiting = _waiting(plan, environ, problems)
    outside = () if problems else tuple(place_findings(plan, outside_places(plan, environ)))
    processes = list_processes(plan, environ=environ, problems=problems)
    entries = open_journal(plan).entries(state.run)
    now = current_action(entries, state.run)
    quiet = _quiet(plan, environ, entries, state, problems)
    owner = lock_owner(plan)
    at = f" at step {state.step}" if state.state in (MigrationState.MIGRATING, MigrationState.ROLLING_BACK) else ""
    back = state.state is MigrationState.ROLLING_BACK
    done = state.undone if back else state.done
    # The preflight of a run that has been begun is behind it; it is no step that is recorded.
    steps = [step for step in ROLLBACK if step.name in state.begun] if back else STEPS[1 if at else 0 :]
    order = [step.name for step in steps]
    finished = state.state in (MigrationState.ROLLED_BACK, MigrationState.MIGRATED, MigrationState.COMPLETED)
    return MigrationStatus(
        state=state.state,
        run=state.run,
        text=_sentence(state, at, owner),
        owner=owner,
        current_action=now.text if now is not None else "",
        current_action_s=now.since_s if now is not None else 0.0,
        ends=how_it_ends(plan, now, owner) if now is not None else (),
        moving=read_progress(plan),
        alias_hits=quiet.hits if quiet is not None else (),
        quiet=reasons(quiet) if quiet is not None else (),
        quiet_until=quiet.until if quiet is not None else 0.0,
        done=done,
        left=() if finished else tuple(name for name in order if name not in done),
        waiting=waiting,
        outside=outside,
        processes=processes,
        problems=tuple(problems),
        next_steps=("migrator status",) if owner else next_commands(state),
    )


def tell_stage(
    status: MigrationStatus, plan: Plan, *, environ: Mapping[str, str], options: RunOptions
) -> MigrationStatus:
    """Return a status with its stage and the one next command, asked from what is there.

    Args:
        options: The checks of plan and source, which only higher layers know.
    """
    if status.owner or status.state in (MigrationState.MIGRATING, MigrationState.ROLLING_BACK):
        return replace(status, next_steps=status.next_steps[:1])
    if status.state is MigrationState.COMPLETED:
        text = f"{status.text}: nothing is left to do, and there is no way back"
        return replace(status, stage=Stage.COMPLETED, text=text, next_steps=())
    if status.state is MigrationState.MIGRATED:
        return _cut_over(status, plan, environ)
    found = preparation(plan, environ=environ, options=options)
    # What was begun with single tasks is ended first.
    steps = status.next_steps[:1] if status.begun_tasks else (found.next_step,)
    return replace(status, stage=found.stage, text=f"{status.text}; {found.text}", next_steps=steps)


def tell_elsewhere(status: MigrationStatus, there: RunOwner, lease_s: float) -> MigrationStatus:
    """Return a status with what the broker says of a run whose journal lies on another machine."""
    place = f"{there.host}:{there.folder}"
    at_it = f"by {there.who}" if there.under_way and lease_s > 0 else f"nobody is at it; the last was {there.who}"
    return replace(
        status,
        state=MigrationState(there.state),
        stage=Stage.RUNNING,
        run=there.run,
        owner=there.who if there.under_way and lease_s > 0 else "",
        text=f"{there.state} (run {there.run}), {at_it}; journal, proof and snapshots are at {place}",
        left=(),
        next_steps=(f"on {there.host}: migrator status",),
    )


def _cut_over(status: MigrationStatus, plan: Plan, environ: Mapping[str, str]) -> MigrationStatus:
    status = replace(status, stage=Stage.CUT_OVER)
    try:
        counts, last = waiting_carried(plan, environ=environ)
        overdue = overdue_parked(plan, environ=environ)
    except MigratorError:  # the problem is listed already
        return replace(status, next_steps=("migrator status",))
    due = f"; the last is due {utc(last.timestamp())}" if last else ""
    left = ", ".join(f"{count} {state} in {queue}" for (queue, state), count in counts.items())
    quiet = (*status.quiet, f"left of before the cutover: {left}{due}" if left else "nothing of before it is left")
    if overdue:
        quiet += (f"{overdue} parked messages are overdue: no worker releases them, a bridge does",)
        return replace(status, quiet=quiet, next_steps=("migrator transfer --follow",))
    allowed = not left and status.quiet_until <= time.time()
    return replace(status, quiet=quiet, next_steps=(f"migrator complete{'' if allowed else ' --dry-run'}",))


def _waiting(plan: Plan, environ: Mapping[str, str], problems: list[str]) -> dict[str, int]:
    waiting: dict[str, int] = {}
    for endpoint in (*plan.legacy, plan.unified):
        side = endpoint.side.value
        try:
            with closing(connect(endpoint, environ)) as broker:
                depths = broker.depths()
        except MigratorError as failure:
            problems.append(str(failure))
            continue
        for (queue, where), count in depths.items():
            if count:
                waiting[f"{side}.{endpoint.system.value} {queue} {where.value}"] = count
    return waiting


def _quiet(
    plan: Plan, environ: Mapping[str, str], entries: tuple[JournalEntry, ...], state: RunState, problems: list[str]
) -> QuietPeriod | None:
    """Return from when on the run may be closed; None if that is no question, or the broker does not answer."""
    if state.state is not MigrationState.MIGRATED:
        return None
    try:
        return quiet_period(plan, environ, entries)
    except MigratorError as failure:
        if str(failure) not in problems:
            problems.append(str(failure))
        return None


def _sentence(state: RunState, at: str, owner: str) -> str:
    run = f" (run {state.run})" if state.run else ""
    if not at:
        return f"{state.state.value}{run}"
    return f"{state.state.value}{at}{run}, " + (f"by {owner}" if owner else "interrupted: nobody is at it")


def next_commands(state: RunState) -> tuple[str, ...]:
    """Return the commands that make sense in a state, the usual one first."""
    if state.state is MigrationState.ROLLED_BACK and "source" not in state.undone:
        # It went back before the source was touched: whatever stopped it, nothing else has to be done again.
        return ("migrator cutover",)
    return {
        MigrationState.LEGACY: ("migrator cutover --dry-run", "migrator cutover"),
        MigrationState.MIGRATING: ("migrator cutover", "migrator rollback"),
        MigrationState.MIGRATED: ("migrator status", "migrator rollback", "migrator complete"),
        MigrationState.ROLLING_BACK: ("migrator rollback",),
        MigrationState.ROLLED_BACK: (
            "migrator rewrite-imports",
            "git add -A && git commit",
            "migrator parity-check",
            "migrator cutover",
        ),
        MigrationState.COMPLETED: ("migrator status",),
    }[state.state]
