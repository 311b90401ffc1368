"""``migrator parity-check``: the same cases through legacy Dramatiq, legacy Celery and the unified tasks."""

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
    "--case", "names", multiple=True, metavar="NAME", help="Only this case; patterns are allowed; repeatable."
)
@click.option(
    "--cases", type=click.Path(path_type=Path, file_okay=False), help="Folder of cases instead of the plan's."
)
@click.option("--isolate", is_flag=True, help="A fresh process for each call.")
@click.option("--through-broker", is_flag=True, help="Through the plan's workers, on a scratch broker.")
@click.option(
    "--database",
    default="",
    envvar="PARITY_DATABASE_URL",
    metavar="URL",
    help="A PostgreSQL server on which each side gets databases of its own; SQLite files by default.",
)
@click.option(
    "--waiting/--no-waiting", default=True, help="Bind what waits in the live brokers, too; only reads, only Redis."
)
@click.option("--no-noise", is_flag=True, help="Run the legacy side once; its own noise then counts as a difference.")
@click.option("--processes", type=click.IntRange(1), default=2, show_default=True, help="Child processes at a time.")
@click.option("--accept", multiple=True, metavar="WAIVER", help="Accept what differs now under this waiver ('all').")
@click.option("--prune", is_flag=True, help="Drop accepted differences that are no longer seen.")
@click.option("--explain", default="", metavar="PATH", help="Say why this path differs from run to run; patterns work.")
@click.option("--gate", is_flag=True, help="For CI: all cases or none, and only the verdict is printed.")
@click.option("--capture", is_flag=True, help="Write cases from the messages that wait in the brokers; run nothing.")
@plan_option
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
    """Run legacy and unified tasks on the same cases and compare.

    Results and effects are compared: rows, cache writes, requests, mail, enqueued messages, retries, dead letters. A
    green run over all cases writes the proof that `cutover` asks for; one that compared nothing is never green.

    Example: migrator parity-check tasks.fetch_news
    """
    from checks.runner import ParityOptions
    from migrator.errors import UsageError

    if capture:
        finish(_captured(plan, cases), "json" if output_format == "json" else "text")
    if gate and (chosen["tasks"] or chosen["names"]):
        raise UsageError("parity-check --gate", "takes all cases", remedy="leave the names of tasks and cases away")
    options = ParityOptions(cases=cases, noise=not no_noise, **chosen)
    finish(_checked(plan, options, output_format, gate=gate, noise=explain), output_format)


def _checked(plan: Plan, options: ParityOptions, output_format: str, *, gate: bool, noise: str) -> Answer:
    """Run the check; a format that is a document of its own is printed at once."""
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


def _captured(plan: Plan, cases: Path | None) -> Answer:
    """Write cases from waiting messages; nothing is taken from a queue."""
    from checks.cases.capture import capture
    from checks.configuration import load_configuration
    from migrator.errors import ExitCode
    from migrator.render.text import finding_lines, table

    folder = cases or load_configuration(plan).cases
    report = capture(plan, environ=os.environ, folder=folder)
    lines = [f"{report.seen:,} messages looked at, {len(report.written)} cases written to {folder}"]
    lines += [f"{report.masked} values that look like secrets were replaced"] if report.masked else []
    lines += table("", ["legacy task", "#messages"], sorted(report.by_task.items())) if report.by_task else []
    lines += finding_lines(report.findings)
    code = ExitCode.DIFFERENCES if report.findings else ExitCode.CLEAN
    data = {"seen": report.seen, "written": list(report.written), "masked": report.masked, "folder": str(folder)}
    return Answer(exit_code=code, lines=lines, data=data, next_steps=["read the cases", "migrator parity-check"])


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
        lines += table("", ["task", "case", "system", "path", "legacy", "unified", "why"], rows[:50])
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
    return ["correct the task, or declare the difference in the waivers with a reason"] + (
        [f"look at {html}"] if html else []
    )
