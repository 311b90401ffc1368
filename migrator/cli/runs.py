"""Output of cutover, rollback and complete: the outcome in a few lines, then the steps, then the findings."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from migrator.cli.output import Answer
from migrator.cli.progress import WIDE

if TYPE_CHECKING:
    from migrator.runner.report import RunReport, StepResult


def run_answer(report: RunReport) -> Answer:
    """Return the output of a run."""
    from migrator.render.text import finding_lines

    planned = report.outcome.value == "planned"
    lines = [_verdict(report), *_messages(report), *(_preflight(report.facts) if planned else ())]
    if report.failure:
        lines += ["", *report.failure.splitlines()]
    lines += ["", *_steps(report.steps, planned=planned)] if report.steps else []
    lines += ["undone:", *_steps(report.undone, planned=False)] if report.undone else []
    lines += finding_lines(report.findings, most=3)
    lines += [f"can't be undone: {text}" for text in report.cannot_undo]
    lines += [f"note: {text}" for text in report.notes]
    return Answer(exit_code=report.exit_code, lines=lines, data=_plain(report), next_steps=report.next_steps)


def _verdict(report: RunReport) -> str:
    done = {"cutover": "the system is unified", "rollback": "the system is legacy again"}
    if report.tasks:
        side = {"cutover": "unified", "rollback": "legacy"}[report.command]
        many = "task is" if len(report.tasks) == 1 else "tasks are"
        done = {report.command: f"the {many} {side} now; everything else is unchanged"}
    words = {
        "done": "done: " + done.get(report.command, "it can't be rolled back any more"),
        "planned": "dry run, nothing was changed: " + ("it can go ahead" if report.ok else "it would be REFUSED"),
        "refused": "REFUSED: nothing was changed",
        "undone": "FAILED and was undone: the system is in its previous state",
        "stopped": "STOPPED before the end: `migrator status` shows where",
        "paused": "paused as requested: the same command continues",
        "unchanged": "nothing to do",
    }
    elapsed = f" in {report.elapsed_s:.1f} s" if report.elapsed_s else ""
    number = f" (run {report.run})" if report.run and not report.tasks else ""
    number = f" of {', '.join(report.tasks)}" if report.tasks else number
    return f"{report.command}{number} {words[report.outcome.value]}{elapsed}"


def _messages(report: RunReport) -> list[str]:
    if not report.moved and not report.quarantined and report.downtime_s is None:
        return []
    downtime = f"; downtime {report.downtime_s:.1f} s" if report.downtime_s is not None else ""
    lines = [f"messages moved: {report.moved:,}; quarantined: {report.quarantined:,}{downtime}"]
    return lines + [f"  quarantined: {count:,} x {reason}" for reason, count in report.reasons.items()]


def _preflight(facts: Mapping[str, Any]) -> list[str]:
    """Return the facts that the preflight collected."""
    from migrator.render.text import table

    lines = []
    if "proof" in facts:
        proof = facts["proof"]
        lines.append(f"parity proof: {proof['counts'].get('compared', 0)} comparisons, written {proof['created_at']}")
    lines += [f"{name}: {server}" for name, server in facts.get("servers", {}).items()]
    if "migrations_open" in facts:
        lines.append("migrations to apply: " + (", ".join(facts["migrations_open"]) or "none"))
    if "running" in facts:
        lines.append("running: " + (", ".join(facts["running"]) or "no process of the plan"))
    if "would_move" in facts:
        lines.append(
            f"messages: {facts['would_move']:,} would be moved, {facts['would_quarantine']:,} would be quarantined"
        )
        lines += table("", ["task", "#messages"], sorted(facts.get("by_task", {}).items()))
    return lines


def _steps(steps: Sequence[StepResult], *, planned: bool) -> list[str]:
    from migrator.render.text import table

    if planned:
        return [
            line
            for step in steps
            for line in [f"{step.name}: {step.title}", *(f"    - {action.sentence}" for action in step.actions)]
        ]
    if sys.stdout.isatty() and shutil.get_terminal_size().columns < WIDE:
        return [f"  {step.outcome:<12} {step.elapsed_s:>6.1f} s  {step.name}" for step in steps]
    rows = [(step.name, step.outcome, f"{step.elapsed_s:.1f}", step.title) for step in steps]
    return table("", ["step", "outcome", "#seconds", "what"], rows)


def _plain(report: RunReport) -> dict[str, Any]:
    data = dataclasses.asdict(report)
    data.pop("next_steps")
    return data
