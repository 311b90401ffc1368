"""What cutover and rollback print: the verdict in a few lines, then the steps, then what was found."""

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
    """Return what to print about a run."""
    from migrator.render.text import finding_lines

    planned = report.outcome.value == "planned"
    lines = [_verdict(report), *_measured(report), *(_looked_at(report.facts) if planned else ())]
    if report.failure:
        lines += ["", *report.failure.splitlines()]
    lines += ["", *_steps(report.steps, planned=planned)] if report.steps else []
    lines += ["taken back:", *_steps(report.undone, planned=False)] if report.undone else []
    lines += finding_lines(report.findings, most=3)
    lines += [f"can't be undone: {text}" for text in report.cannot_undo]
    lines += [f"note: {text}" for text in report.notes]
    return Answer(exit_code=report.exit_code, lines=lines, data=_plain(report), next_steps=report.next_steps)


def _verdict(report: RunReport) -> str:
    done = {"cutover": "the system is unified", "rollback": "the system is legacy again"}
    if report.tasks:
        side = {"cutover": "unified", "rollback": "legacy"}[report.command]
        many = "task is" if len(report.tasks) == 1 else "tasks are"
        done = {report.command: f"the {many} on the {side} side; everything else goes on as it was"}
    words = {
        "done": "done: " + done.get(report.command, "the way back is closed"),
        "planned": "planned, and nothing was changed: "
        + ("it may go on" if report.ok else "it would be REFUSED as things stand"),
        "refused": "REFUSED: nothing was changed",
        "undone": "FAILED, and everything was taken back: the system is as it was",
        "stopped": "STOPPED in the middle: the journal says where",
        "paused": "paused as asked for: the same command continues",
        "unchanged": "nothing to do",
    }
    took = f" in {report.elapsed_s:.1f} s" if report.elapsed_s else ""
    number = f" (run {report.run})" if report.run and not report.tasks else ""
    number = f" of {', '.join(report.tasks)}" if report.tasks else number
    return f"{report.command}{number} {words[report.outcome.value]}{took}"


def _measured(report: RunReport) -> list[str]:
    if not report.moved and not report.quarantined and report.downtime_s is None:
        return []
    downtime = f"; longest gap without a worker {report.downtime_s:.1f} s" if report.downtime_s is not None else ""
    lines = [f"messages carried over: {report.moved:,}; kept back: {report.quarantined:,}{downtime}"]
    return lines + [f"  kept back: {count:,} x {reason}" for reason, count in report.reasons.items()]


def _looked_at(facts: Mapping[str, Any]) -> list[str]:
    """Return what the preflight saw, as far as it came."""
    from migrator.render.text import table

    lines = []
    if "proof" in facts:
        proof = facts["proof"]
        lines.append(f"parity proof: {proof['counts'].get('compared', 0)} comparisons, made {proof['created_at']}")
    lines += [f"{name}: {server}" for name, server in facts.get("servers", {}).items()]
    if "migrations_open" in facts:
        lines.append("migrations to apply: " + (", ".join(facts["migrations_open"]) or "none"))
    if "running" in facts:
        lines.append("running: " + (", ".join(facts["running"]) or "no process of the plan"))
    if "would_move" in facts:
        lines.append(f"messages: {facts['would_move']:,} would move now, {facts['would_keep']:,} would be kept back")
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
