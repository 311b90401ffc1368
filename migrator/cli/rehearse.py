"""``migrator rehearse``: cutover, rollback and cutover again on scratch copies, with the timings to expect."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.output import Answer, finish, format_option, plan_option

if TYPE_CHECKING:
    from migrator.plan.model import Plan
    from migrator.rehearsal.rehearse import Rehearsal


@click.command("rehearse")
@click.option(
    "--scratch",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to work in; it is not deleted afterwards. Default: a temporary folder.",
)
@click.option("--no-waiting", is_flag=True, help="Don't read or copy waiting messages.")
@click.option(
    "--snapshot",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Copy the messages of this snapshot instead of the waiting messages.",
)
@click.option(
    "--rabbitmq",
    default="",
    metavar="URL",
    envvar="REHEARSAL_RABBITMQ_URL",
    show_envvar=True,
    help="Use this empty virtual host instead of creating one on the real RabbitMQ.",
)
@lambda function: plan_option(function, runs_project=True)
@format_option
def command(plan: Plan, output_format: str, **chosen: Any) -> None:
    """Rehearse cutover, rollback and cutover again on scratch copies.

    Uses a clone of the source, scratch brokers, a scratch database and copies of the waiting messages, which are never
    run. The real system is only read. The rehearsal is refused (exit code 4) if the project would connect to a broker
    or database that is not scratch; a cache, result backend or mail server that is not scratch is reported. Set further
    variables for the rehearsal in [rehearsal.environment] of the plan.

    On PostgreSQL, the scratch databases are created on the same server and dropped afterwards. Workers of a process
    manager are not touched: each needs its command in the plan.

    On RabbitMQ, the scratch broker is a virtual host that is created through the management plugin
    (RABBITMQ_MANAGEMENT_URL, with a user that may create one) and deleted afterwards, or the one given with --rabbitmq.
    Copying marks the waiting messages there as redelivered; avoid that with --no-waiting or --snapshot.

    Example: migrator rehearse --scratch /tmp/rehearsal
    """
    from migrator.cli.progress import shown_progress
    from migrator.rehearsal.rehearse import RehearsalOptions, rehearse
    from migrator.state.rehearsed import note_rehearsal
    from migrator.wiring import guarded

    if chosen["no_waiting"] and chosen["snapshot"]:
        raise click.UsageError("--no-waiting and --snapshot can't be combined")
    if chosen["scratch"] is not None:
        chosen["scratch"].mkdir(parents=True, exist_ok=True)
    options = RehearsalOptions(
        scratch=chosen["scratch"],
        waiting=not chosen["no_waiting"],
        snapshot=chosen["snapshot"],
        rabbitmq=chosen["rabbitmq"],
    )
    with shown_progress(quiet=output_format == "json") as listener:
        found = rehearse(plan, environ=os.environ, options_for=guarded, chosen=options, listener=listener)
    if found.ok:
        note_rehearsal(plan)
    finish(_answer(found), output_format)


def _answer(found: Rehearsal) -> Answer:
    from migrator.errors import ExitCode
    from migrator.render.text import finding_lines, table

    rows = [
        (
            run.command,
            run.outcome.value,
            f"{run.moved:,}",
            f"{run.quarantined:,}",
            f"{run.downtime_s or 0:.1f}",
            f"{run.elapsed_s:.1f}",
        )
        for run in found.runs
    ]
    columns = ["run", "outcome", "#moved", "#quarantined", "#downtime s", "#seconds"]
    verdict = "succeeded" if found.ok else "FAILED"
    lines = [f"rehearsal {verdict} with copies of {found.messages:,} messages in {found.elapsed_s:.1f} s"]
    lines += table("", columns, rows)
    lines += [f"note: {text}" for text in found.notes]
    last = found.runs[-1]
    lines += [last.failure, *finding_lines(last.findings)] if not found.ok else []
    code = ExitCode.CLEAN if found.ok else ExitCode(last.exit_code or ExitCode.DIFFERENCES)
    steps = ("migrator cutover --dry-run", "migrator cutover") if found.ok else ("migrator rehearse",)
    return Answer(exit_code=code, lines=lines, data=dataclasses.asdict(found), next_steps=steps)
