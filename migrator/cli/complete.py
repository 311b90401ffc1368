"""``migrator complete``: the end of the migration; it can't be rolled back afterwards."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.output import finish, format_option, plan_option, renamed_option, takeover_option

if TYPE_CHECKING:
    from migrator.plan.model import Plan


@click.command("complete")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show whether the migration can be completed, or from when on, without changing anything.",
)
@click.option("--name", default="", metavar="PLAN", help="The name of the plan, instead of typing it at the prompt.")
@click.option("--discard-quarantined", is_flag=True, help="Also delete the quarantined messages.")
@renamed_option("--discard-kept", "--discard-quarantined")
@takeover_option
@plan_option
@format_option
def command(dry_run: bool, name: str, plan: Plan, output_format: str, **chosen: Any) -> None:
    """Complete the migration; it can't be rolled back afterwards.

    Refused (exit code 4) while a moved message waits, is parked, held by a worker or retried, and while legacy aliases
    catch any. Otherwise the keys that only a rollback needs are deleted, each by its exact name.

    Example: migrator complete --dry-run
    """
    from migrator.cli.runs import run_answer
    from migrator.errors import RefusedError
    from migrator.runner.complete import complete
    from migrator.runner.held_run import refuse_elsewhere
    from migrator.steps.protocol import RunOptions

    refuse_elsewhere(plan, os.environ)
    options = RunOptions(**chosen)
    planned = complete(plan, environ=os.environ, options=replace(options, dry_run=True))
    if dry_run or not planned.ok:
        finish(run_answer(planned), output_format)
    typed = name or click.prompt(
        f"The migration can't be rolled back after this. Type the name of the plan ({plan.name}) to go on", err=True
    )
    if typed != plan.name:
        raise RefusedError("complete", "that is not the name of the plan", found=typed, remedy="nothing was changed")
    finish(run_answer(complete(plan, environ=os.environ, options=options)), output_format)
