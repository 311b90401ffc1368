"""``migrator workers``: the plan's processes, identified by pid and start time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.output import Answer, confirm, finish, format_option, plan_option, yes_option
from migrator.cli.questions import kill_question

if TYPE_CHECKING:
    from migrator.plan.model import Plan
    from migrator.workers.start_stop import ProcessState


@click.command("workers")
@click.argument("verb", type=click.Choice(["list", "start", "stop"]), default="list")
@click.argument("side", type=click.Choice(["legacy", "unified"]), required=False)
@click.option(
    "--name", "names", multiple=True, metavar="PROCESS", help="Only this process. Can be given more than once."
)
@click.option(
    "--kill",
    "kills",
    multiple=True,
    metavar="PROCESS",
    help="For stop, with --yes: kill this process if it has not stopped within its timeout.",
)
@plan_option
@yes_option
@format_option
def command(
    verb: str, side: str | None, names: tuple[str, ...], plan: Plan, yes: bool, output_format: str, **more: Any
) -> None:
    """List, start or stop the plan's processes.

    Only processes of the plan are stopped, identified by pid and start time. A process gets SIGTERM and has
    stop_timeout_s to stop. It is killed only if you confirm that: on a terminal you are asked, and told what would be
    lost or repeated; without a terminal, give --kill PROCESS together with --yes. During a migration, `cutover` and
    `rollback` start and stop the processes.

    Example: migrator workers list
    """
    from migrator.cli.progress import shown_progress
    from migrator.errors import ExitCode, UsageError
    from migrator.runner.held_run import refuse_elsewhere
    from migrator.wire.message import Side
    from migrator.workers.drivers.command import process_named
    from migrator.workers.start_stop import list_processes, start_side, stop_side

    kills: tuple[str, ...] = more["kills"]
    for name in kills:
        process_named(plan, name)
    if verb == "list":
        states: Sequence[ProcessState] = list_processes(plan, environ=os.environ)
        chosen = [state for state in states if side in (None, state.side.value) and (not names or state.name in names)]
        finish(_answer(chosen, ExitCode.CLEAN), output_format)
    if side is None:
        raise UsageError(f"workers {verb}", "the side is missing", remedy="add `legacy` or `unified`")
    refuse_elsewhere(plan, os.environ)
    confirm(f"{verb.capitalize()} the {side} processes of {plan.name}?", yes=yes)
    with shown_progress(quiet=output_format == "json") as listener:
        if verb == "start":
            states = start_side(plan, Side(side), environ=os.environ, names=names, listener=listener)
        else:
            ask = kill_question(plan, kills=kills, yes=yes, listener=listener)
            states = stop_side(plan, Side(side), environ=os.environ, names=names, ask_kill=ask, listener=listener)
    finish(_answer(states, ExitCode.CLEAN), output_format)


def _answer(states: Sequence[ProcessState], code: int) -> Answer:
    from migrator.errors import ExitCode
    from migrator.render.text import table

    rows = [
        (
            state.name,
            state.side.value,
            state.role.value,
            state.state,
            state.pid or "",
            len(state.children),
            f"{state.age_s:.0f} s" if state.pid else "",
            state.log,
        )
        for state in states
    ]
    columns = ["process", "side", "role", "state", "#pid", "#children", "#age", "log"]
    return Answer(
        exit_code=ExitCode(code),
        lines=[*table("", columns, rows), *(state.problem for state in states if state.problem)],
        data={"processes": [asdict(state) for state in states]},
    )
