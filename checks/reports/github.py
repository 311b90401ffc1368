"""Output for GitHub: annotations in the log and a step summary, within GitHub's limits.

Source: https://docs.github.com/actions/reference/workflow-commands-for-github-actions (escaping of workflow commands;
a step summary may take 1 MiB, and ten errors and ten warnings of a step are shown).
"""

from __future__ import annotations

import html
from collections.abc import Iterator

from checks.compare.report import ParityReport, summary_lines
from migrator.plain_text import github_text, one_line
from migrator.report import Mismatch, Outcome, Severity

SUMMARY_LIMIT_BYTES = 1024 * 1024
ANNOTATIONS_OF_A_KIND = 10
#: Longest text of one annotation.
TEXT_LIMIT = 1_000
_OPEN = (Outcome.MISMATCHED, Outcome.NOT_COMPARED)


def workflow_commands(report: ParityReport) -> str:
    """Return workflow commands, one per line: the first differences, then findings."""
    lines = [
        _command("error", f"{item.task}: {item.case} ({item.system})", f"{item.path}: {item.reason or _values(item)}")
        for item in report.mismatches
        if item.outcome in _OPEN
    ]
    lines += [_command("error", item.code, str(item)) for item in report.findings if item.severity is Severity.ERROR]
    shown, more = lines[:ANNOTATIONS_OF_A_KIND], len(lines) - ANNOTATIONS_OF_A_KIND
    if more > 0:
        shown[-1] = _command("error", "Parity", f"and {more + 1} more: see the step summary and the report")
    if not lines:
        shown = [_command("notice", "Parity", summary_lines(report)[0])]
    return "\n".join(shown) + "\n"


def step_summary(report: ParityReport, *, limit_bytes: int = SUMMARY_LIMIT_BYTES) -> str:
    """Return Markdown of at most ``limit_bytes``; if it is cut, between lines, the last line says so."""
    note = "\n_This summary is truncated: see the HTML report._\n"
    room = limit_bytes - len(note.encode())
    lines: list[str] = []
    for line in _markdown(report):
        size = len(line.encode(errors="backslashreplace")) + 1
        if size > room:
            return "\n".join(lines) + note
        room -= size
        lines.append(line)
    return "\n".join(lines) + "\n"


def _markdown(report: ParityReport) -> Iterator[str]:
    yield f"## Parity of {_cell(report.plan)}"
    yield ""
    for line in summary_lines(report):
        yield f"- {_cell(line)}"
    yield ""
    yield "| task | matched | waived | mismatched | could not compare |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    order = (Outcome.MATCHED, Outcome.WAIVED, Outcome.MISMATCHED, Outcome.NOT_COMPARED)
    for task, ended in report.by_task().items():
        yield f"| {_cell(task)} | " + " | ".join(str(ended[outcome]) for outcome in order) + " |"
    for finding in report.findings:
        yield f"- **{finding.code}** {_cell(str(finding))}"
    found = [item for item in report.mismatches if item.outcome in _OPEN]
    if found:
        yield ""
        yield "| task | case | system | path | what |"
        yield "| --- | --- | --- | --- | --- |"
    for item in found:
        cells = (item.task, item.case, item.system, item.path, item.reason or _values(item))
        yield "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _values(mismatch: Mismatch) -> str:
    return f"legacy {mismatch.legacy!r:.300}, unified {mismatch.unified!r:.300}"


def _cell(text: str) -> str:
    """Return text escaped for Markdown and HTML."""
    shown = html.escape(one_line(" ".join(text[:TEXT_LIMIT].splitlines())), quote=False)
    for character in "\\`*_[]|":
        shown = shown.replace(character, f"\\{character}")
    return shown


def _command(kind: str, title: str, text: str) -> str:
    heading = github_text(title[:200]).replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={heading}::{github_text(text[:TEXT_LIMIT])}"
