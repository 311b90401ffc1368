"""What a run reports: values for whoever renders them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from migrator.errors import ExitCode
from migrator.report import Finding


class RunOutcome(StrEnum):
    """How a run ended."""

    DONE = "done"
    #: Every check was made and every action listed; nothing was changed.
    PLANNED = "planned"
    #: A guard refused before anything was changed.
    REFUSED = "refused"
    #: A step failed, and everything was undone.
    UNDONE = "undone"
    #: A step failed and the run stopped there, as asked for, or the rollback failed too.
    STOPPED = "stopped"
    #: It stopped after the step that was asked for; the same command continues.
    PAUSED = "paused"
    #: There was nothing to do.
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionResult:
    """One action of a step."""

    id: str
    sentence: str
    #: ``done``, ``already done``, ``planned`` or ``failed``.
    outcome: str
    elapsed_s: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """One step of a run."""

    name: str
    title: str
    #: ``done``, ``already done``, ``planned``, ``failed`` or ``undone``.
    outcome: str
    elapsed_s: float = 0.0
    actions: tuple[ActionResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """The result of a cutover or rollback."""

    #: ``cutover`` or ``rollback``.
    command: str
    #: Number of the run; 0 when none was begun.
    run: int
    outcome: RunOutcome
    exit_code: ExitCode
    #: Unified names of the tasks that alone were to be moved; empty for a whole run.
    tasks: tuple[str, ...] = ()
    steps: tuple[StepResult, ...] = ()
    #: What the steps of the rollback did, if a failed step was undone.
    undone: tuple[StepResult, ...] = ()
    findings: tuple[Finding, ...] = ()
    #: Facts of the preflight by name.
    facts: Mapping[str, Any] = field(default_factory=dict)
    #: Seconds from the first stop signal to a worker until all its messages lay where ready workers are.
    downtime_s: float | None = None
    moved: int = 0
    quarantined: int = 0
    #: Quarantined messages by reason.
    reasons: Mapping[str, int] = field(default_factory=dict)
    elapsed_s: float = 0.0
    #: The error that ended the run; empty if none did.
    failure: str = ""
    #: What a rollback does not bring back.
    cannot_undo: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    #: Commands that come next.
    next_steps: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if it ended as it should."""
        return self.exit_code is ExitCode.CLEAN
