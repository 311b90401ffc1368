"""``migrator restore``: the messages of a snapshot, put back."""

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
@click.option("--replace", is_flag=True, help="Empty the plan's queues first; what lies in them now is gone.")
@plan_option
@yes_option
@format_option
def command(file: Path, replace: bool, plan: Plan, yes: bool, output_format: str) -> None:
    """Put the messages of a snapshot back.

    A cutover writes its snapshot to .migrator/snapshots before it moves the first message. All workers have to be
    stopped. Refused while the queues hold anything, because that would double it. What has run since the snapshot was
    written runs again: this is for queues that are lost, a rollback is the way back.

    Example: migrator restore .migrator/snapshots/run-1.snapshot
    """
    from migrator.errors import ExitCode, RefusedError
    from migrator.plan.processes import Role
    from migrator.snapshots.snapshot import restore_snapshot
    from migrator.workers.start_stop import list_processes

    running = [
        state.name
        for state in list_processes(plan, environ=os.environ)
        if state.role is Role.WORKER and state.state != "stopped"
    ]
    if running:
        raise RefusedError(
            "restore", "workers are running", found=", ".join(running), remedy="migrator workers stop legacy|unified"
        )
    place = " IN PLACE OF what is there" if replace else ""
    confirm(f"Put the messages of {file} back{place}? What has run since it was written runs again.", yes=yes)
    facts = restore_snapshot(plan, environ=os.environ, file=file, replace=replace)
    lines = [f"restored {facts.messages:,} messages, written at {facts.created_at}"]
    lines += [f"  {name}: {number:,}" for name, number in facts.by_endpoint.items()]
    lines += ["what has run since then runs again when workers are started"]
    answer = Answer(
        exit_code=ExitCode.CLEAN, lines=lines, data=dataclasses.asdict(facts), next_steps=["migrator status"]
    )
    finish(answer, output_format)
