"""``migrator rehearse``: cutover, rollback and cutover again on scratch, with the timings to expect."""

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
@click.option("--scratch", type=click.Path(path_type=Path, file_okay=False), help="Folder to work in and to keep.")
@click.option("--no-waiting", is_flag=True, help="Copy no messages, and read none.")
@click.option(
    "--snapshot",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Copy the messages of this snapshot instead of those that wait now.",
)
@click.option(
    "--rabbitmq",
    default="",
    metavar="URL",
    envvar="REHEARSAL_RABBITMQ_URL",
    show_envvar=True,
    help="Rehearse in this empty virtual host instead of one made on the real RabbitMQ.",
)
@plan_option
@format_option
def command(plan: Plan, output_format: str, **chosen: Any) -> None:
    """Go there, back and there again on scratch copies.

    Uses a clone of the source, brokers and a database of its own and copies of the waiting messages, none of which is
    ever run. The real system is only read. Refused (4) if the project would reach a broker or database that is not
    scratch; a cache, a result backend or a mail server that is not is named. The plan's [rehearsal.environment] sets
    further variables for it.

    On RabbitMQ the scratch broker is a virtual host made through the management plugin (RABBITMQ_MANAGEMENT_URL, with
    a user that may do so) and removed afterwards, or the one named with --rabbitmq. Copying marks the waiting messages
    there as redelivered; --no-waiting or --snapshot does without.

    Example: migrator rehearse --scratch /tmp/rehearsal
    """
    from migrator.cli.progress import shown_progress
    from migrator.rehearsal.rehearse import RehearsalOptions, rehearse
    from migrator.wiring import guarded

    if chosen["no_waiting"] and chosen["snapshot"]:
        raise click.UsageError("--no-waiting and --snapshot exclude each other")
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
    columns = ["run", "outcome", "#moved", "#kept", "#gap s", "#seconds"]
    verdict = "went there, back and there again" if found.ok else "DID NOT go through"
    lines = [f"rehearsal with copies of {found.messages:,} messages {verdict} in {found.elapsed_s:.1f} s"]
    lines += table("", columns, rows)
    lines += [f"note: {text}" for text in found.notes]
    last = found.runs[-1]
    lines += [last.failure, *finding_lines(last.findings)] if not found.ok else []
    code = ExitCode.CLEAN if found.ok else ExitCode(last.exit_code or ExitCode.DIFFERENCES)
    steps = ("migrator cutover --dry-run", "migrator cutover") if found.ok else ("migrator rehearse",)
    return Answer(exit_code=code, lines=lines, data=dataclasses.asdict(found), next_steps=steps)
