"""What a step is, and what it is given.

A step is a value with four functions. ``check`` and ``verify`` look and change nothing; ``actions`` and ``undo``
return actions, which the runner executes and journals one by one. Every action is idempotent: after a crash the
runner repeats the one whose end was not recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from migrator.events import Event, EventKind, Listener, ignore
from migrator.plan.model import Plan
from migrator.plan.processes import Process, Role
from migrator.project.manage_server import ManageServer
from migrator.report import Finding, Report, Severity
from migrator.state.journal import EntryKind, Journal, Phase
from migrator.wire.message import Side
from migrator.workers.kill import AskKill

#: Among the facts of the preflight, and of a run in the journal: names of the legacy processes that stay.
STAYING = "staying_processes"
#: Facts that an action leaves in the journal.
Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing that is done, at once or again after a crash."""

    #: Stable within its step, such as ``stop:legacy-beat``.
    id: str
    #: What it does, for a person: ``stop legacy-beat (pid 4711)``.
    sentence: str
    run: Callable[[], Facts | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a run is to be done. What higher layers know is handed down as callables."""

    dry_run: bool = False
    #: A failed step stops the run where it is instead of undoing it.
    no_undo: bool = False
    #: Stop, resumable, when this step is done.
    until: str = ""
    #: While this file exists, the run waits before the first legacy process is stopped; a run that goes on knows it.
    postpone_file: Path | None = None
    #: Folder of executables named after events, such as ``before-transfer``; a non-zero exit vetoes.
    hooks: Path | None = None
    #: Unified task names that alone are to be moved; empty for all.
    tasks: tuple[str, ...] = ()
    #: `complete` may drop messages that are quarantined; they stay in the snapshots.
    discard_quarantined: bool = False
    #: Take over a run whose last operator was on another machine and is not heard of any more.
    takeover: bool = False
    ready_timeout_s: float = 60.0
    #: Asked, on a terminal, about a process that has not ended in its time; without it such a process stops the run.
    ask_kill: AskKill | None = None
    #: How long the run waits for the postpone file to go, in seconds.
    postpone_timeout_s: float = 24 * 3600.0
    #: Is there a fresh parity proof that is ours?
    check_proof: Callable[[], Report] | None = None
    #: Is the source tree converted?
    check_source: Callable[[], Report] | None = None
    #: Does the plan name every legacy task?
    check_inventory: Callable[[], Report] | None = None
    #: Can the rewrite be undone as it stands?
    check_undo_source: Callable[[], Report] | None = None
    #: Undo the rewrite; returns the changed paths, relative to the plan's folder. Repeatable.
    undo_source: Callable[[], tuple[str, ...]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Everything a step works with."""

    plan: Plan
    environ: Mapping[str, str]
    journal: Journal
    #: Number of the run.
    run: int
    options: RunOptions = field(default_factory=RunOptions)
    listener: Listener = ignore
    #: Runs the project's management commands without importing it for each, where that counts.
    manage_server: ManageServer | None = None
    #: Names of the legacy processes that stay, while no run has recorded them.
    stays: tuple[str, ...] = ()
    #: Raises an error if the run is not ours any more; asked before each action.
    keep_lease: Callable[[], None] = lambda: None


def nothing_to_do(context: Context) -> tuple[Action, ...]:
    """Return no actions: for steps that only look, or that leave nothing behind."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a cutover."""

    name: str
    #: What it does, in a few words, for the list of steps.
    title: str
    #: May it begin?
    check: Callable[[Context], Report]
    actions: Callable[[Context], tuple[Action, ...]]
    #: Has it worked?
    verify: Callable[[Context], Report]
    #: What undoes it, from what its actions recorded; repeatable.
    undo: Callable[[Context], tuple[Action, ...]]
    #: What of the undo no message has to wait for: in a rollback it is done when they are all back.
    undo_late: Callable[[Context], tuple[Action, ...]] = nothing_to_do
    #: Sentences about what the undo does not bring back.
    cannot_undo: Callable[[Context], tuple[str, ...]] = lambda context: ()


def nothing_to_check(context: Context) -> Report:
    """Return a report without findings, for steps that the runner's own bookkeeping checks."""
    return Report(subject="nothing to check", checked=1)


def recorded(context: Context, step: str, action: str, *, phase: Phase = Phase.FORWARD) -> Facts:
    """Return the facts that an action of this run left behind; empty if it has not finished."""
    found: Facts = {}
    for line in context.journal.entries(context.run):
        if (line.step, line.action, line.phase, line.mark) == (step, action, phase, EntryKind.DONE):
            found = line.data
    return found


def ran_before(context: Context, process: Process) -> bool:
    """True if a legacy process ran when this run began, so that an undo has to start it again."""
    for line in context.journal.entries(context.run):
        if line.mark is EntryKind.RUN_BEGUN:
            return process.name in line.data.get("running", ())
    return True


def staying(context: Context) -> tuple[Process, ...]:
    """Return the legacy processes that this run starts again, for tasks outside of the plan's scope."""
    begun = (line for line in context.journal.entries(context.run) if line.mark is EntryKind.RUN_BEGUN)
    names = next((line.data.get(STAYING, ()) for line in begun if line.phase is Phase.FORWARD), context.stays)
    return tuple(replace(p, as_it_is=True) for p in context.plan.select(side=Side.LEGACY) if p.name in names)


def processes(context: Context, side: Side, *roles: Role) -> tuple[Process, ...]:
    """Return the plan's processes of one side and of these roles, in plan order."""
    return tuple(process for process in context.plan.select(side=side) if process.role in roles)


def findings_report(subject: str, findings: Iterable[Finding], *, checked: int = 1, **facts: Any) -> Report:
    """Return a report of these findings."""
    return Report(subject=subject, checked=checked, findings=tuple(findings), facts=facts)


def error(code: str, where: str, what: str, *, found: str = "", remedy: str = "") -> Finding:
    """Return a finding that forbids going on."""
    return Finding(code=code, severity=Severity.ERROR, where=where, what=what, found=found, remedy=remedy)


def warning(code: str, where: str, what: str, *, found: str = "", remedy: str = "") -> Finding:
    """Return a finding that a person should know of."""
    return Finding(code=code, severity=Severity.WARNING, where=where, what=what, found=found, remedy=remedy)


def note(context: Context, step: str, text: str) -> None:
    """Tell whoever watches."""
    context.listener(Event(kind=EventKind.NOTE, step=step, text=text))
