"""``migrator rollback``: back to the legacy workers, with all messages, including those enqueued since."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.cli.output import confirm, finish, format_option, plan_option, say, takeover_option, yes_option
from migrator.cli.questions import ask_kill

if TYPE_CHECKING:
    from migrator.plan.model import Plan


@click.command("rollback")
@click.option("--dry-run", is_flag=True, help="List all actions and what can't be undone, without changing anything.")
@click.option(
    "--task", "tasks", multiple=True, metavar="NAME", help="Roll back only this task. Can be given more than once."
)
@click.option(
    "--hooks",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of executables named after events, such as before-undo-transfer.",
)
@takeover_option
@plan_option
@yes_option
@format_option
def command(
    dry_run: bool,
    tasks: tuple[str, ...],
    hooks: Path | None,
    takeover: bool,
    plan: Plan,
    yes: bool,
    output_format: str,
) -> None:
    """Roll the last cutover back, messages included.

    Restores legacy files, workers, schedulers and messages from the journal of the cutover. Messages that were enqueued
    since are translated back; those without a legacy form are quarantined and listed.

    Example: migrator rollback --dry-run
    """
    from migrator.cli.progress import shown_progress
    from migrator.cli.runs import run_answer
    from migrator.runner.cutover import rollback
    from migrator.runner.held_run import refuse_elsewhere
    from migrator.steps.protocol import RunOptions
    from migrator.wiring import guarded

    refuse_elsewhere(plan, os.environ)
    preview = RunOptions(dry_run=True, tasks=tasks, hooks=hooks)
    planned = rollback(plan, environ=os.environ, options=guarded(plan, preview))
    if dry_run or planned.outcome.value == "unchanged":
        finish(run_answer(planned), output_format)
    for text in planned.cannot_undo:
        say(f"can't be undone: {text}", err=True)
    confirm(f"Roll {', '.join(tasks) or f'run {planned.run}'} of {plan.name} back?", yes=yes)
    with shown_progress(quiet=output_format == "json") as listener:
        options = RunOptions(tasks=tasks, hooks=hooks, takeover=takeover, ask_kill=ask_kill(listener, yes=yes))
        report = rollback(plan, environ=os.environ, options=guarded(plan, options), listener=listener)
    finish(run_answer(report), output_format)
