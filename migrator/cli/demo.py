"""``migrator demo``: the whole migration on the sample project, with real servers and workers."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.cli.output import Answer, finish, format_option, say

if TYPE_CHECKING:
    from migrator.demo.run_demo import DemoResult


@click.command("demo")
@click.option(
    "--messages", type=click.IntRange(50, 1_000_000), default=2000, show_default=True, help="Number of messages."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the random traffic.")
@click.option("--keep", is_flag=True, help="Don't delete the files of the scratch system.")
@click.option(
    "--redis-url",
    metavar="URL",
    envvar="MIGRATOR_REDIS_URL",
    show_envvar=True,
    help="Redis server to use instead of an embedded one. Its databases must be empty.",
)
@click.option(
    "--fixtures",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with the sample project. Default: the one in this source tree.",
)
@format_option
def command(
    messages: int, seed: int, keep: bool, redis_url: str | None, fixtures: Path | None, output_format: str
) -> None:
    """Run the whole migration on the sample project with embedded servers.

    In a scratch folder: start the legacy workers, rewrite the source, check parity, cut over under load, roll back and
    cut over again. Every message is accounted for by its id. The last line of the output is a summary for scripts.

    Example: migrator demo --messages 2000
    """
    from migrator.demo.scratch import find_fixtures

    find_fixtures(fixtures)
    from migrator.cli.progress import shown_progress
    from migrator.demo.run_demo import DemoOptions, run_demo

    folder = Path(tempfile.mkdtemp(prefix="migrator-demo-")) / "scratch" if keep else None
    options = DemoOptions(messages=messages, seed=seed, fixtures=fixtures, redis_url=redis_url or None, keep=folder)
    if keep:
        say(f"scratch system: {folder}", err=True)
    with shown_progress(quiet=output_format == "json" and not os.isatty(2)) as listener:
        result = run_demo(options, listener)
    finish(_answer(result, keep=keep), output_format)


def _answer(result: DemoResult, *, keep: bool) -> Answer:
    from migrator.errors import ExitCode
    from migrator.render.text import table

    tallies = [
        (
            name,
            *(f"{number:,}" for number in (tally.enqueued, tally.run, tally.waiting, tally.quarantined)),
            len(tally.lost),
            len(tally.duplicated),
        )
        for name, tally in result.tallies.items()
    ]
    lines = table(
        "Messages by id", ["after", "#enqueued", "#run", "#waiting", "#quarantined", "#lost", "#duplicated"], tallies
    )
    lines += table(
        "Measurements", ["name", "#value"], [(name, f"{value:,}") for name, value in result.measured.items()]
    )
    lines += table("Phases", ["phase", "#seconds"], [(name, f"{value:.1f}") for name, value in result.seconds.items()])
    lines += table(
        "Checks", ["check", "result"], [(name, "ok" if ok else "FAILED") for name, ok in result.checks.items()]
    )
    if keep:
        lines += [f"scratch system: {result.folder}", *(f"{name}: {file}" for name, file in result.reports.items())]
    summary = (
        f"lost={result.lost} duplicated={result.duplicated} downtime_s={result.downtime_s:.1f} "
        f"files={result.files} cases={result.cases}"
    )
    data = dataclasses.asdict(result)
    data.update(tallies={name: dataclasses.asdict(tally) for name, tally in result.tallies.items()})
    data.update(summary=summary, folder=str(result.folder) if keep else None)
    code = ExitCode.CLEAN if result.ok else ExitCode.DIFFERENCES
    return Answer(exit_code=code, lines=[*lines, "", summary], data=data)
