"""``migrator restore``: restore the messages of a snapshot to their queues."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.cli.output import Answer, confirm, finish, format_option, plan_option, yes_option

if TYPE_CHECKING:
    from migrator.plan.model import Plan


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--replace", is_flag=True, help="Empty the plan's queues first; messages that are in them now are deleted."
)
@plan_option
@yes_option
@format_option
def command(file: Path, replace: bool, plan: Plan, yes: bool, output_format: str) -> None:
    """Restore the messages of a snapshot.

    A cutover writes its snapshot to .migrator/snapshots before it moves the first message. All workers must be stopped,
    and the queues must be empty unless --replace is given. Messages that have run since the snapshot was written will
    run again: use `restore` if queues were lost, and `rollback` to undo a cutover.

    Example: migrator restore .migrator/snapshots/run-1.snapshot
    """
    from migrator.errors import ExitCode, RefusedError
    from migrator.plan.processes import Role
    from migrator.runner.held_run import refuse_elsewhere
    from migrator.snapshots.snapshot import restore_snapshot
    from migrator.workers.start_stop import list_processes

    refuse_elsewhere(plan, os.environ)
    running = [
        state.name
        for state in list_processes(plan, environ=os.environ)
        if state.role is Role.WORKER and state.state != "stopped"
    ]
    if running:
        raise RefusedError(
            "restore",
            "workers are running",
            found=", ".join(running),
            remedy="stop them with `migrator workers stop legacy|unified`",
        )
    replacing = " and DELETE those in the queues" if replace else ""
    confirm(f"Restore the messages of {file}{replacing}? Those that have run since will run again.", yes=yes)
    facts = restore_snapshot(plan, environ=os.environ, file=file, replace=replace)
    lines = [f"restored {facts.messages:,} messages of the snapshot of {facts.created_at}"]
    lines += [f"  {name}: {number:,}" for name, number in facts.by_endpoint.items()]
    lines += ["messages that have run since then run again when workers are started"]
    answer = Answer(
        exit_code=ExitCode.CLEAN, lines=lines, data=dataclasses.asdict(facts), next_steps=["migrator status"]
    )
    finish(answer, output_format)
