"""``migrator complete``: the one-way door; afterwards there is no rollback."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from migrator.cli.output import finish, format_option, plan_option, renamed_option

if TYPE_CHECKING:
    from migrator.plan.model import Plan


@click.command("complete")
@click.option("--dry-run", is_flag=True, help="Say whether and from when it may be done; change nothing.")
@click.option("--name", default="", metavar="PLAN", help="The plan's name, typed out, instead of being asked for it.")
@click.option("--discard-quarantined", is_flag=True, help="Also give up the messages that were kept back.")
@renamed_option("--discard-kept", "--discard-quarantined")
@plan_option
@format_option
def command(dry_run: bool, name: str, discard_quarantined: bool, plan: Plan, output_format: str) -> None:
    """Close the migration for good: afterwards there is no rollback.

    Refused (4) until everything that was carried over has had its turn: the last delayed message was due, and a
    failed task can no longer retry. Then the keys that only a rollback needs are deleted, each by its exact name.

    Example: migrator complete --dry-run
    """
    from migrator.cli.runs import run_answer
    from migrator.errors import RefusedError
    from migrator.runner.complete import complete
    from migrator.steps.protocol import RunOptions

    planned = complete(
        plan, environ=os.environ, options=RunOptions(dry_run=True, discard_quarantined=discard_quarantined)
    )
    if dry_run or not planned.ok:
        finish(run_answer(planned), output_format)
    typed = name or click.prompt(f"There is no way back after this. Type the plan's name ({plan.name})", err=True)
    if typed != plan.name:
        raise RefusedError("complete", "that is not the plan's name", found=typed, remedy="nothing was changed")
    options = RunOptions(discard_quarantined=discard_quarantined)
    finish(run_answer(complete(plan, environ=os.environ, options=options)), output_format)
