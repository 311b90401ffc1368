"""``migrator cutover``: from the legacy workers to the unified ones, with all messages."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.output import confirm, finish, format_option, plan_option, takeover_option, yes_option
from migrator.cli.questions import ask_kill, warn_of_volatile_servers

if TYPE_CHECKING:
    from migrator.plan.model import Plan


@click.command("cutover")
@click.option(
    "--dry-run", is_flag=True, help="Run all checks and list all actions and messages, without changing anything."
)
@click.option("--no-undo", is_flag=True, help="If a step fails, stop there instead of undoing all steps.")
@click.option("--until", default="", metavar="STEP", help="Pause after this step; run cutover again to continue.")
@click.option(
    "--postpone-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Before the first legacy process is stopped, wait until this file is deleted.",
)
@click.option(
    "--task", "tasks", multiple=True, metavar="NAME", help="Move only this task. Can be given more than once."
)
@click.option(
    "--hooks",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of executables named after events, such as before-transfer; one that fails vetoes.",
)
@click.option(
    "--proof",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Take this proof of parity, such as one that CI made, if it belongs to this plan, source and cases.",
)
@takeover_option
@lambda function: plan_option(function, runs_project=True)
@yes_option
@format_option
def command(plan: Plan, yes: bool, output_format: str, proof: Path | None, **chosen: Any) -> None:
    """Move the running system to the unified tasks, messages included.

    Stops the legacy workers, moves their waiting messages and starts the unified workers. The cutover is refused
    (exit code 4) without a current proof of parity, if the source is not rewritten, or if a worker that is not in the
    plan answers. If a step fails, it is undone together with all steps before it.

    Example: migrator cutover --dry-run
    """
    from migrator.cli.progress import shown_progress
    from migrator.cli.runs import run_answer
    from migrator.runner.cutover import cutover
    from migrator.runner.held_run import refuse_elsewhere
    from migrator.state.proof import take_proof
    from migrator.steps.protocol import RunOptions
    from migrator.wiring import guarded

    refuse_elsewhere(plan, os.environ)
    if not chosen["dry_run"]:
        what = ", ".join(chosen["tasks"]) or f"{plan.name} to the unified tasks (legacy workers will be stopped)"
        warn_of_volatile_servers(plan)
        confirm(f"Move {what}?", yes=yes)
    if proof is not None:
        take_proof(plan, proof)
    options = RunOptions(**chosen)
    with shown_progress(quiet=output_format == "json") as listener:
        options = replace(options, ask_kill=ask_kill(listener, yes=yes))
        report = cutover(plan, environ=os.environ, options=guarded(plan, options), listener=listener)
    finish(run_answer(report), output_format)
