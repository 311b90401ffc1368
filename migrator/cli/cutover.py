"""``migrator cutover``: from the legacy workers to the unified ones, with every message."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.cli.output import confirm, finish, format_option, plan_option, yes_option
from migrator.cli.questions import ask_kill

if TYPE_CHECKING:
    from migrator.plan.model import Plan


@click.command("cutover")
@click.option("--dry-run", is_flag=True, help="Make every check and list every action and message; change nothing.")
@click.option("--no-undo", is_flag=True, help="Stop where a step fails instead of taking everything back.")
@click.option("--until", default="", metavar="STEP", help="Stop after this step; the same command continues.")
@click.option(
    "--postpone-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Wait, before the first legacy process is stopped, until this file is gone.",
)
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="Move only this task; may be repeated.")
@click.option("--hooks", type=click.Path(path_type=Path, file_okay=False), help="Folder of executables, one an event.")
@plan_option
@yes_option
@format_option
def command(
    dry_run: bool,
    no_undo: bool,
    until: str,
    postpone_file: Path | None,
    tasks: tuple[str, ...],
    hooks: Path | None,
    plan: Plan,
    yes: bool,
    output_format: str,
) -> None:
    """Move the running system to the unified tasks, messages included.

    Refused (4) without a fresh green parity proof, with an unconverted source tree, or when a worker answers that the
    plan doesn't know. A step that fails is taken back with everything before it.

    Example: migrator cutover --dry-run
    """
    from migrator.cli.progress import shown_progress
    from migrator.cli.runs import run_answer
    from migrator.runner.cutover import cutover
    from migrator.steps.protocol import RunOptions
    from migrator.wiring import guarded

    if not dry_run:
        what = ", ".join(tasks) or f"{plan.name} to the unified tasks now? Its legacy workers will be stopped."
        confirm(f"Move {what}", yes=yes)
    options = RunOptions(
        dry_run=dry_run,
        no_undo=no_undo,
        until=until,
        postpone_file=postpone_file,
        tasks=tasks,
        hooks=hooks,
    )
    with shown_progress(quiet=output_format == "json") as listener:
        options = replace(options, ask_kill=ask_kill(listener, yes=yes))
        report = cutover(plan, environ=os.environ, options=guarded(plan, options), listener=listener)
    finish(run_answer(report), output_format)
