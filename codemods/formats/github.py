"""The report as GitHub annotations, within what one step may show: ten errors, ten warnings and ten notices.

What is cut is counted in one notice.
Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

from codemods.formats.places import place
from codemods.report import Mode, RewriteReport
from migrator.plain_text import github_text
from migrator.report import Severity

LIMIT = 10
_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def as_github(report: RewriteReport) -> str:
    """Return workflow commands, one a line; errors first."""
    lines: dict[str, list[str]] = {"error": [], "warning": [], "notice": []}
    for finding in report.findings:
        path, line = place(finding)
        text = finding.what + (f"; {finding.remedy}" if finding.remedy else "")
        lines[_COMMANDS[finding.severity]].append(_command(_COMMANDS[finding.severity], path, line, finding.code, text))
    if report.mode is not Mode.WRITE:
        for path in (*(change.shown for change in report.changed), *report.created):
            text = "would be changed or created; run `migrator rewrite-imports`"
            lines["warning"].append(_command("warning", path, 1, "WOULD-CHANGE", text))
    limits = dict.fromkeys(lines, LIMIT)
    if any(len(found) > LIMIT for found in lines.values()):
        limits["notice"] = LIMIT - 1  # the count of what was cut is a notice itself
    cut = {kind: len(found) - limits[kind] for kind, found in lines.items() if len(found) > limits[kind]}
    shown = [line for kind, found in lines.items() for line in found[: limits[kind]]]
    if cut:
        counts = ", ".join(f"{count} more {kind}s" for kind, count in cut.items())
        shown.append(
            f"::notice title=migrator::{github_text(f'{counts} are not shown here; see the json or sarif format')}"
        )
    return "".join(f"{line}\n" for line in shown)


def _command(kind: str, path: str, line: int, title: str, text: str) -> str:
    return f"::{kind} file={_property(path)},line={line},title={_property(title)}::{github_text(text)}"


def _property(text: str) -> str:
    return github_text(text).replace(":", "%3A").replace(",", "%2C")
