"""Render reports and tables as lines of text, coloured only on a terminal."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from migrator.plain_text import Verbatim, one_line
from migrator.report import Finding, Report, Severity

#: Width of output to a file or a pipe: no line is folded, so that lines can be searched.
PIPED_WIDTH = 2000
#: So many places of equal findings are shown with what was found there, more with their lines only.
_SHOWN = 8
_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFO: "dim"}


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return a table as lines; columns whose name begins with ``#`` are right-aligned.

    On a terminal so narrow that words would be broken, each row becomes a block with one line per value.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    names, cells = [name.lstrip("#") for name in columns], [[one_line(str(cell)) for cell in row] for row in rows]
    title = one_line(title)
    if _least_width(names, cells) > _width():
        return [*([title] if title else []), *(line for row in cells for line in _block(names, row))]
    result = Table(title=Text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    for name in columns:
        result.add_column(Text(name.lstrip("#")), justify="right" if name.startswith("#") else "left", overflow="fold")
    for row in cells:
        result.add_row(*(Text(cell) for cell in row))  # as it is: brackets in it are no markup
    return _rendered(result)


def _least_width(names: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return the least width of a table without broken words; each column has a margin of three."""
    longest = [
        max((len(word) for cell in column for word in cell.split()), default=0)
        for column in zip(names, *rows, strict=True)
    ]
    return sum(longest) + 3 * len(names) + 1 if rows else 0


def _block(names: Sequence[str], row: Sequence[str]) -> list[str]:
    first, *rest = zip(names, row, strict=True)
    return [f"{first[0]}: {first[1]}", *(f"  {name}: {value}" for name, value in rest if value)]


def finding_lines(findings: Iterable[Finding], *, most: int | None = None) -> list[str]:
    """Return findings, the most severe first, each with its code and remedy.

    Args:
        findings: What was found.
        most: Maximum number to show per code; the others are counted. None for all.
    """
    order = list(Severity)
    lines: list[str] = []
    shown: Counter[str] = Counter()
    for finding in sorted(findings, key=lambda one: order.index(one.severity)):
        shown[finding.code] += 1
        if most is None or shown[finding.code] <= most:
            lines += _finding(finding)
    hidden = [f"{count - most} more {code}" for code, count in shown.items() if most is not None and count > most]
    return [*lines, *([f"         and {', '.join(hidden)}; --format json lists all"] if hidden else [])]


def grouped_finding_lines(findings: Iterable[Finding]) -> list[str]:
    """Return findings, the most severe first; those that say the same become one with its places."""
    order = list(Severity)
    groups: dict[tuple[Severity, str, str, str], list[Finding]] = {}
    for one in sorted(findings, key=lambda one: order.index(one.severity)):
        groups.setdefault((one.severity, one.code, one.what, one.remedy), []).append(one)
    lines: list[str] = []
    for group in groups.values():
        if len(group) == 1:
            lines += _finding(group[0])
            continue
        lines += _finding(replace(group[0], where=f"{len(group)} places", found="", remedy=""))
        if len(group) <= _SHOWN:
            lines += [f"         {one.where}" + (f"  {one.found}" if one.found else "") for one in group]
        else:
            files: dict[str, list[str]] = {}
            for one in group:
                file, _, line = one.where.rpartition(":")
                files.setdefault(file, []).append(line)
            lines += [f"         {file}:{','.join(numbers)}" for file, numbers in files.items()]
        if group[0].remedy:
            lines.append(f"         do: {group[0].remedy}")
    return lines


def _finding(finding: Finding) -> list[str]:
    text = one_line(f"  {finding.where}: {finding.what}" + (f" ({finding.found})" if finding.found else ""))
    remedy = one_line(f"         do: {finding.remedy}") if finding.remedy else ""
    if not sys.stdout.isatty():  # neither colour nor folding
        return [f"{finding.severity.value:<8}{finding.code}{text}", *([remedy] if remedy else [])]
    from rich.text import Text

    head = Text.assemble((f"{finding.severity.value:<8}", _STYLES[finding.severity]), (finding.code, "bold"), text)
    return [*_rendered(head), *(_rendered(Text(remedy)) if remedy else ())]


def report_lines(report: Report) -> list[str]:
    """Return a report: one line with the verdict, then the findings."""
    counts = {severity: sum(f.severity is severity for f in report.findings) for severity in Severity}
    if report.ok:
        verdict = f"{report.subject}: ok, {report.checked} checked"
    elif report.checked == 0:
        verdict = f"{report.subject}: NOTHING WAS CHECKED"
    else:
        verdict = f"{report.subject}: NOT OK, {report.checked} checked"
    tail = ", ".join(f"{number} {severity.value}(s)" for severity, number in counts.items() if number)
    return [verdict + (f": {tail}" if tail else ""), *finding_lines(report.findings)]


def _width() -> int:
    return max(40, shutil.get_terminal_size().columns) if sys.stdout.isatty() else PIPED_WIDTH


def _rendered(renderable: object) -> list[str]:
    """Return lines of something whose texts are :func:`one_line` each."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    colour = terminal and "NO_COLOR" not in os.environ
    console = Console(
        file=io.StringIO(),
        force_terminal=colour,
        no_color=not colour,
        width=_width(),
        highlight=False,
    )
    with console.capture() as capture:
        console.print(renderable)
    return [Verbatim(line.rstrip()) for line in capture.get().splitlines() if line.strip()]
