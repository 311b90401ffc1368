"""``migrator parity-check``: run the same cases on legacy Dramatiq, legacy Celery and the unified tasks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.output import Answer, finish, format_option, plan_option

if TYPE_CHECKING:
    from checks.compare.report import ParityReport
    from checks.runner import ParityOptions
    from migrator.plan.model import Plan

FORMATS = ("text", "json", "junit", "github")


@click.command("parity-check")
@click.argument("tasks", nargs=-1, metavar="[TASK]...")
@click.option(
    "--case",
    "names",
    multiple=True,
    metavar="NAME",
    help="Only this case; a pattern with * is allowed. Can be given more than once.",
)
@click.option(
    "--cases",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of cases. Default: the one of parity.toml.",
)
@click.option("--isolate", is_flag=True, help="Run each call in a new process.")
@click.option(
    "--through-broker", is_flag=True, help="Run calls through the plan's worker commands on a scratch broker."
)
@click.option(
    "--database",
    default="",
    envvar="PARITY_DATABASE_URL",
    metavar="URL",
    help="PostgreSQL server on which temporary databases are created. Default: SQLite files.",
)
@click.option(
    "--waiting/--no-waiting",
    default=True,
    help="Also check that the waiting messages of the live brokers fit the unified tasks. Reads only; Redis only.",
)
@click.option("--no-noise", is_flag=True, help="Run each system once only; random values then count as differences.")
@click.option(
    "--processes",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Number of systems to run at the same time.",
)
@click.option(
    "--accept",
    multiple=True,
    metavar="WAIVER",
    help="Accept the current differences that this waiver covers, or 'all' waivers. Can be given more than once.",
)
@click.option("--prune", is_flag=True, help="Remove accepted differences that no longer occur.")
@click.option(
    "--explain",
    default="",
    metavar="PATH",
    help="Show why this path differs between two runs; a pattern with * is allowed.",
)
@click.option("--gate", is_flag=True, help="For CI: run all cases and print only the summary.")
@click.option(
    "--capture", is_flag=True, help="Write cases from waiting messages of the live brokers, without running any."
)
@lambda function: plan_option(function, runs_project=True)
@lambda function: format_option(function, FORMATS)
def command(
    cases: Path | None,
    no_noise: bool,
    explain: str,
    gate: bool,
    capture: bool,
    plan: Plan,
    output_format: str,
    **chosen: Any,
) -> None:
    """Run legacy and unified tasks on the same cases and compare their effects.

    Compares results, database rows, cache writes, HTTP requests, mail, enqueued messages, retries and dead letters.
    Tasks run in child processes with scratch databases and brokers. A green run over all cases writes the proof that
    `cutover` requires; a run that compared nothing is never green.

    Example: migrator parity-check tasks.fetch_news
    """
    from checks.runner import ParityOptions
    from migrator.errors import UsageError

    if capture:
        finish(_capture(plan, cases), "json" if output_format == "json" else "text")
    if gate and (chosen["tasks"] or chosen["names"]):
        raise UsageError("parity-check --gate", "always runs all cases", remedy="omit the names of tasks and cases")
    options = ParityOptions(cases=cases, noise=not no_noise, **chosen)
    finish(_check(plan, options, output_format, gate=gate, noise=explain), output_format)


def _check(plan: Plan, options: ParityOptions, output_format: str, *, gate: bool, noise: str) -> Answer:
    """Run the check; print a format that is a document of its own, and exit."""
    from checks.compare.report import explain
    from checks.reports.writers import document
    from checks.runner import parity_check
    from migrator.cli.progress import shown_progress

    with shown_progress(quiet=output_format != "text") as listener:
        report = parity_check(plan, environ=os.environ, options=options, listener=listener)
    if output_format in ("junit", "github"):
        click.echo(_document(report, output_format), nl=False)
        raise SystemExit(int(report.exit_code))
    lines = explain(report, noise) if noise else _lines(report)[:5] if gate else _lines(report)
    data = {"parity": document(report)}
    return Answer(exit_code=report.exit_code, lines=lines, data=data, next_steps=_next_steps(report))


def _document(report: ParityReport, output_format: str) -> str:
    from checks.reports.github import workflow_commands
    from checks.reports.writers import junit

    return junit(report).decode() if output_format == "junit" else workflow_commands(report)


def _capture(plan: Plan, cases: Path | None) -> Answer:
    """Write cases from waiting messages; no message is taken from a queue."""
    from checks.cases.capture import capture
    from checks.configuration import load_configuration
    from migrator.errors import ExitCode
    from migrator.render.text import finding_lines, table

    folder = cases or load_configuration(plan).cases
    report = capture(plan, environ=os.environ, folder=folder)
    lines = [f"{report.seen:,} messages read, {len(report.written)} cases written to {folder}"]
    lines += [f"{report.masked} values that look like secrets were replaced"] if report.masked else []
    lines += table("", ["legacy task", "#messages"], sorted(report.by_task.items())) if report.by_task else []
    lines += finding_lines(report.findings)
    code = ExitCode.DIFFERENCES if report.findings else ExitCode.CLEAN
    data = {"seen": report.seen, "written": list(report.written), "masked": report.masked, "folder": str(folder)}
    return Answer(exit_code=code, lines=lines, data=data, next_steps=["review the cases", "migrator parity-check"])


def _lines(report: ParityReport) -> list[str]:
    from checks.compare.report import summary_lines
    from migrator.render.text import finding_lines, table
    from migrator.report import Outcome

    lines = summary_lines(report)
    open_outcomes = (Outcome.MISMATCHED, Outcome.NOT_COMPARED)
    rows = [
        (m.task, m.case, m.system, m.path, _brief(m.legacy), _brief(m.unified), m.reason or m.outcome.value)
        for m in report.mismatches
        if m.outcome in open_outcomes
    ]
    if rows:
        lines += table("", ["task", "case", "system", "path", "legacy", "unified", "reason"], rows[:50])
    if len(rows) > 50:
        lines.append(f"and {len(rows) - 50} more: see the reports")
    lines += finding_lines(report.findings)
    lines += report.facts["waiting"]
    lines += [f"{name}: {file}" for name, file in report.facts.get("files", {}).items()]
    return lines


def _brief(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _next_steps(report: ParityReport) -> list[str]:
    if report.ok:
        return ["migrator cutover --dry-run"] if report.whole else ["migrator parity-check"]
    html = report.facts.get("files", {}).get("html")
    return ["correct the task, or waive the difference with a reason"] + ([f"open {html}"] if html else [])
