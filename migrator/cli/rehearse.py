"""``migrator rehearse``: cutover, rollback and cutover again on scratch, with the timings to expect."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.cli.output import Answer, finish, format_option, plan_option

if TYPE_CHECKING:
    from migrator.plan import Plan
    from migrator.runner_rehearse import Rehearsal


@click.command("rehearse")
@click.option("--scratch", type=click.Path(path_type=Path, file_okay=False), help="Folder to work in and to keep.")
@plan_option
@format_option
def command(scratch: Path | None, plan: Plan, output_format: str) -> None:
    """Go there, back and there again on scratch copies.

    Uses a clone of the source, a broker and a database of its own and copies of the waiting messages, none of which is
    ever run. The real system is only read. Refused (4) if the project would reach a broker or database that is not
    scratch; a cache, a result backend or a mail server that is not is named. The plan's [rehearsal.environment] sets
    further variables for it.

    Example: migrator rehearse --scratch /tmp/rehearsal
    """
    from migrator.cli.progress import shown_progress
    from migrator.run_options import guarded
    from migrator.runner_rehearse import rehearse

    if scratch is not None:
        scratch.mkdir(parents=True, exist_ok=True)
    with shown_progress(quiet=output_format == "json") as listener:
        found = rehearse(plan, environ=os.environ, options_for=guarded, scratch=scratch, listener=listener)
    finish(_answer(found), output_format)


def _answer(found: Rehearsal) -> Answer:
    from migrator.errors import ExitCode
    from migrator.render.text import finding_lines, table

    rows = [
        (
            run.command,
            run.outcome.value,
            f"{run.moved:,}",
            f"{run.kept:,}",
            f"{run.gap_s or 0:.1f}",
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
