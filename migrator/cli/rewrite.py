"""``migrator rewrite-imports``: rewrite the source to the unified tasks; all files or none."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from migrator.cli.output import Answer, existing_plan_folder, finish, format_option, plan_option, say
from migrator.plain_text import plain_lines

if TYPE_CHECKING:
    from codemods.report import RewriteReport
    from migrator.inventory.source_files import SourceFiles
    from migrator.plan.model import Plan
    from migrator.report import Finding

FORMATS = ("text", "json", "sarif", "github")


@click.command("rewrite-imports")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Don't write; exit with 1 if a file would change or a leftover remains.")
@click.option("--diff", is_flag=True, help="Don't write; print a diff of the changes.")
@click.option(
    "--text", is_flag=True, help="Also rewrite deployment files and documentation, where that is unambiguous."
)
@click.option("--mark", is_flag=True, help="Write a comment above each leftover.")
@click.option("--undo", is_flag=True, help="Undo all recorded rewrites instead.")
@plan_option
@lambda function: format_option(function, FORMATS)
def command(
    paths: tuple[Path, ...],
    check: bool,
    diff: bool,
    text: bool,
    mark: bool,
    undo: bool,
    plan: Plan,
    output_format: str,
) -> None:
    """Rewrite the source from the legacy tasks to the unified ones.

    Rewrites imports, calls, task names in strings, schedules and settings, and installs the unified app. Code that
    can't be rewritten safely is not changed and is listed as a leftover. Either all files are written or none;
    --undo restores them. With PATHS, only these files and folders are rewritten.

    Example: migrator rewrite-imports --diff
    """
    from codemods.report import Mode
    from codemods.runner import rewrite
    from migrator.errors import UsageError

    if check + diff + undo > 1:
        raise UsageError("rewrite-imports", "--check, --diff and --undo can't be combined")
    existing_plan_folder(plan)
    if undo:
        finish(_undone(plan), "json" if output_format == "json" else "text")
    mode = Mode.CHECK if check else Mode.DIFF if diff else Mode.WRITE
    unseen: list[Finding] = []
    while_parsing = None if mode is Mode.WRITE else partial(_require_complete, plan, unseen)
    if mode is Mode.WRITE:
        _prepare(plan, unseen)
    report = rewrite(plan, paths=paths, mode=mode, text=text, mark=mark, while_parsing=while_parsing)
    report = replace(report, findings=(*report.findings, *unseen))
    _print(report, output_format)


def _print(report: RewriteReport, output_format: str) -> NoReturn:
    """Print the report and exit."""
    from codemods.report import Mode

    next_steps = _next_steps(report)
    if output_format != "text":
        click.echo(_document(report, output_format, next_steps))
        raise SystemExit(int(report.exit_code))
    if report.mode is Mode.DIFF:  # for `git apply`, unless a person reads it
        click.echo(plain_lines(report.diff) if sys.stdout.isatty() else report.diff, nl=False)
    finish(Answer(exit_code=report.exit_code, lines=_lines(report), next_steps=next_steps), output_format)


def _prepare(plan: Plan, unseen: list[Finding]) -> None:
    """Finish what an interrupted run began, then compare the plan with the source."""
    from codemods.runner import finish_interrupted

    if finished := finish_interrupted(plan):
        say(f"{finished} first", err=True)
    _require_complete(plan, unseen)


def _require_complete(plan: Plan, unseen: list[Finding], sources: SourceFiles | None = None) -> None:
    """Raise if the plan is incomplete, or contradicts the source; collect the places that can't be followed."""
    from migrator.errors import PlanError
    from migrator.inventory.unfollowed import UNSEEN
    from migrator.report import Severity
    from migrator.wiring import check_plan

    report = check_plan(plan, sources)
    if report.errors:
        raise PlanError(str(plan.file), tuple(f"{finding.code} {finding}" for finding in report.errors))
    unseen += [replace(finding, severity=Severity.ERROR) for finding in report.findings if finding.code == UNSEEN]


def _undone(plan: Plan) -> Answer:
    from codemods.undo import undo_rewrite
    from migrator.errors import ExitCode

    files = undo_rewrite(plan)
    lines = [f"restored {file}" for file in files] or ["no rewrite is recorded; nothing was changed"]
    return Answer(exit_code=ExitCode.CLEAN, lines=lines, data={"restored": list(files)})


def _document(report: RewriteReport, output_format: str, next_steps: list[str]) -> str:
    from codemods.formats.github import as_github
    from codemods.formats.json import as_json
    from codemods.formats.sarif import as_sarif

    if output_format == "json":
        return as_json(report, next_steps=next_steps)
    return as_sarif(report) if output_format == "sarif" else as_github(report)


def _lines(report: RewriteReport) -> list[str]:
    from codemods.report import Mode
    from migrator.render.text import grouped_finding_lines

    writes = report.mode is Mode.WRITE
    verb = "rewrote" if writes else "would rewrite"
    lines = []
    for change in report.changed:
        lines.append(f"{verb} {change.shown} ({sum(change.edits.values())} edits)")
    lines += [f"{'created' if writes else 'would create'} {shown}" for shown in report.created]
    lines += grouped_finding_lines(report.findings)
    counts = report.counts
    lines.append(
        f"{verb} {counts['places']} places in {counts['files']} files, {counts['created']} files created, "
        f"{counts['leftovers']} leftovers, {counts['notes']} notes, {counts['unparsable']} unreadable files "
        f"({counts['files_seen']} files read in {report.elapsed_s:.1f} s)"
    )
    if report.patch is not None:
        lines.append(f"undo: migrator rewrite-imports --undo (patch: {report.patch})")
    return lines


def _next_steps(report: RewriteReport) -> list[str]:
    from codemods.report import Mode

    if report.leftovers or report.unparsable:
        return ["handle each leftover, then run migrator rewrite-imports --check"]
    if report.mode is not Mode.WRITE and (report.changed or report.created):
        return ["migrator rewrite-imports"]
    return ["git commit", "migrator parity-check"]
