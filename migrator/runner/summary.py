"""Put a run's report together from its step results and its journal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from migrator.errors import ExitCode
from migrator.report import Finding, Report
from migrator.runner.report import RunOutcome, RunReport, StepResult
from migrator.runner.state import RunState, read_state
from migrator.runner.status import next_commands
from migrator.state.journal import EntryKind, JournalEntry, Phase
from migrator.steps.actions.downtime import measure_downtime
from migrator.steps.order import STEPS
from migrator.steps.protocol import Context

#: Findings that mean that something does not answer, rather than that it is wrong.
UNREACHABLE_CODES = frozenset(
    {"BROKER-UNREACHABLE", "DATABASE-UNREACHABLE", "PROJECT-UNREACHABLE", "WORKER-SILENT", "MESSAGES-UNREADABLE"}
)
_CODES = {RunOutcome.PAUSED: ExitCode.INTERRUPTED, RunOutcome.REFUSED: ExitCode.REFUSED}


def summarize(
    context: Context, command: str, outcome: RunOutcome, results: Sequence[StepResult], *, began: float
) -> RunReport:
    """Return the report of a run as far as it has come."""
    entries = context.journal.entries(context.run)
    state = read_state(context.journal.entries())
    phase = Phase.BACK if command == "rollback" else Phase.FORWARD
    moves = [line for line in entries if _is_move(line, phase)]
    reasons: dict[str, int] = {}
    for line in moves:
        for reason, count in line.data.get("reasons", {}).items():
            reasons[reason] = reasons.get(reason, 0) + int(count)
    steps = [step for step in STEPS if not state.begun or step.name in state.begun]
    planned = outcome is RunOutcome.PLANNED
    by_hand = tuple(str(line.data["by_hand"]) for line in entries if line.phase is phase and "by_hand" in line.data)
    return RunReport(
        command=command,
        run=context.run,
        outcome=outcome,
        exit_code=_CODES.get(outcome, ExitCode.DIFFERENCES if by_hand else ExitCode.CLEAN),
        steps=tuple(results),
        downtime_s=None if planned else measure_downtime(entries, phase),
        moved=sum(int(line.data["moved"]) for line in moves),
        quarantined=sum(int(line.data["quarantined"]) for line in moves),
        reasons=reasons,
        elapsed_s=0.0 if planned else time.monotonic() - began,
        notes=tuple(str(text) for line in entries if line.phase is phase for text in line.data.get("notes", ())),
        cannot_undo=tuple(dict.fromkeys(text for step in steps for text in step.cannot_undo(context))),
        next_steps=(*by_hand, *next_commands(state)),
    )


def refused(context: Context, command: str, report: Report) -> RunReport:
    """Return the report of a run that a guard refused before anything was touched."""
    state = read_state(context.journal.entries())
    return RunReport(
        command=command,
        run=state.run,
        outcome=RunOutcome.REFUSED,
        exit_code=refusal_code(report.errors),
        findings=report.findings,
        facts=report.facts,
        failure=f"{len(report.errors)} findings of the preflight forbid it; nothing was changed",
        next_steps=tuple(dict.fromkeys(finding.remedy for finding in report.errors if finding.remedy)),
    )


def refusal_code(errors: Iterable[Finding]) -> ExitCode:
    """Return UNREACHABLE if something does not answer, else REFUSED; CLEAN without errors."""
    codes = {finding.code for finding in errors}
    if codes & UNREACHABLE_CODES:
        return ExitCode.UNREACHABLE
    return ExitCode.REFUSED if codes else ExitCode.CLEAN


def unchanged(command: str, state: RunState, text: str) -> RunReport:
    """Return the report of a command for which there is nothing to do."""
    return RunReport(
        command=command,
        run=state.run,
        outcome=RunOutcome.UNCHANGED,
        exit_code=ExitCode.CLEAN,
        notes=(text,),
        next_steps=next_commands(state),
    )


def _is_move(line: JournalEntry, phase: Phase) -> bool:
    return line.mark is EntryKind.DONE and line.phase is phase and "moved" in line.data
