"""Reports and tables as lines of text for a person, coloured only where the terminal wants it."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence

from migrator.report import Finding, Report, Severity

#: Width of output that goes to a file or a pipe: nothing is folded, so that every line can be searched for.
PIPED_WIDTH = 2000
_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFO: "dim"}


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return a table as lines; columns whose name begins with ``#`` are aligned right."""
    from rich import box
    from rich.table import Table

    result = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    for name in columns:
        result.add_column(name.lstrip("#"), justify="right" if name.startswith("#") else "left", overflow="fold")
    for row in rows:
        result.add_row(*(str(cell) for cell in row))
    return _rendered(result)


def finding_lines(findings: Iterable[Finding], *, most: int | None = None) -> list[str]:
    """Return findings, the gravest first, each with its code and remedy.

    Args:
        findings: What was found.
        most: How many of one code to show; the others are counted. None for all.
    """
    from rich.text import Text

    order = list(Severity)
    lines: list[str] = []
    shown: Counter[str] = Counter()
    for finding in sorted(findings, key=lambda one: order.index(one.severity)):
        shown[finding.code] += 1
        if most is not None and shown[finding.code] > most:
            continue
        head = Text.assemble(
            (f"{finding.severity.value:<8}", _STYLES[finding.severity]), (finding.code, "bold"), f"  {finding.where}: "
        )
        head.append(finding.what + (f" ({finding.found})" if finding.found else ""))
        lines += _rendered(head)
        if finding.remedy:
            lines += _rendered(Text(f"         do: {finding.remedy}"))
    hidden = [f"{count - most} more {code}" for code, count in shown.items() if most is not None and count > most]
    return [*lines, *([f"         and {', '.join(hidden)}; --format json lists all"] if hidden else [])]


def report_lines(report: Report) -> list[str]:
    """Return a report: one line that says whether to go on, then what was found."""
    counts = {severity: sum(f.severity is severity for f in report.findings) for severity in Severity}
    if report.ok:
        verdict = f"{report.subject}: ok, {report.checked} checked"
    elif report.checked == 0:
        verdict = f"{report.subject}: NOTHING WAS CHECKED, so nothing is known"
    else:
        verdict = f"{report.subject}: NOT OK, {report.checked} checked"
    tail = ", ".join(f"{number} {severity.value}(s)" for severity, number in counts.items() if number)
    return [verdict + (f": {tail}" if tail else ""), *finding_lines(report.findings)]


def _rendered(renderable: object) -> list[str]:
    from rich.console import Console

    terminal = sys.stdout.isatty()
    colour = terminal and "NO_COLOR" not in os.environ
    console = Console(
        file=io.StringIO(),
        force_terminal=colour,
        no_color=not colour,
        width=max(40, shutil.get_terminal_size().columns) if terminal else PIPED_WIDTH,
        highlight=False,
    )
    with console.capture() as capture:
        console.print(renderable)
    return [line.rstrip() for line in capture.get().splitlines() if line.strip()]
