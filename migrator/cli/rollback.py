"""``migrator rollback``: back to the legacy workers, with every message, also those enqueued since."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.cli.output import confirm, finish, format_option, plan_option, yes_option
from migrator.cli.questions import ask_kill

if TYPE_CHECKING:
    from migrator.plan.model import Plan


@click.command("rollback")
@click.option("--dry-run", is_flag=True, help="Say what would be done and what can't be undone; change nothing.")
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="Take back only this task; may be repeated.")
@click.option("--hooks", type=click.Path(path_type=Path, file_okay=False), help="Folder of executables, one an event.")
@plan_option
@yes_option
@format_option
def command(
    dry_run: bool, tasks: tuple[str, ...], hooks: Path | None, plan: Plan, yes: bool, output_format: str
) -> None:
    """Take the cutover back, messages included.

    Works from what the cutover recorded. Legacy files, workers, schedulers and messages come back; what was enqueued
    since is translated back, and what has no legacy form is kept and listed.

    Example: migrator rollback --dry-run
    """
    from migrator.cli.progress import shown_progress
    from migrator.cli.runs import run_answer
    from migrator.runner.cutover import rollback
    from migrator.steps.protocol import RunOptions
    from migrator.wiring import guarded

    asked = RunOptions(dry_run=True, tasks=tasks, hooks=hooks)
    planned = rollback(plan, environ=os.environ, options=guarded(plan, asked))
    if dry_run or planned.outcome.value == "unchanged":
        finish(run_answer(planned), output_format)
    for text in planned.cannot_undo:
        click.echo(f"can't be undone: {text}", err=True)
    confirm(f"Take {', '.join(tasks) or f'run {planned.run}'} of {plan.name} back now?", yes=yes)
    with shown_progress(quiet=output_format == "json") as listener:
        options = RunOptions(tasks=tasks, hooks=hooks, ask_kill=ask_kill(listener, yes=yes))
        report = rollback(plan, environ=os.environ, options=guarded(plan, options), listener=listener)
    finish(run_answer(report), output_format)
