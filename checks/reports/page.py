"""The report as one self-contained HTML page; everything that tasks produced is escaped."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from checks.compare.experiment import Comparison
from checks.compare.report import ParityReport, summary_lines
from migrator.report import Mismatch, Outcome

#: Maximum lines of a value.
LINE_LIMIT = 120
#: Maximum characters of a line.
WIDTH_LIMIT = 600
#: The most severe first.
OUTCOMES = (Outcome.NOT_COMPARED, Outcome.MISMATCHED, Outcome.WAIVED, Outcome.MATCHED)

Lines = list[tuple[str, str]]


def page(report: ParityReport) -> str:
    """Return the whole page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("checks", "reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("parity.html.j2").render(
        report=report,
        verdict=summary_lines(report)[0].partition(":")[0],
        counts=report.counts,
        outcomes=OUTCOMES,
        by_task=report.by_task(),
        waived=_waived(report),
        kinds=sorted({comparison.kind for comparison in report.comparisons}),
        comparisons=[_shown(item) for item in sorted(report.comparisons, key=_severity)],
        facts=[(name, value) for name, value in report.facts.items() if isinstance(value, (str, int))],
    )


def side_by_side(legacy: Any, unified: Any) -> tuple[Lines, Lines]:
    """Return the lines of both values up to a limit, marked where they differ."""
    left, right = _lines(legacy), _lines(unified)
    matcher = difflib.SequenceMatcher(a=left, b=right, autojunk=False)
    shown: tuple[Lines, Lines] = ([], [])
    for kind, start, end, other_start, other_end in matcher.get_opcodes():
        shown[0].extend(("" if kind == "equal" else "removed", line) for line in left[start:end])
        shown[1].extend(("" if kind == "equal" else "added", line) for line in right[other_start:other_end])
    return shown


def _severity(item: Comparison | Mismatch) -> int:
    """Return the sort key: open differences come before waived ones."""
    return OUTCOMES.index(item.outcome)


def _shown(comparison: Comparison) -> dict[str, Any]:
    return {
        **{name: getattr(comparison, name) for name in ("case", "title", "kind", "task", "system", "legacy_name")},
        "noise": [item.path for item in comparison.noise],
        "outcome": comparison.outcome.value,
        "differences": [_difference(mismatch) for mismatch in sorted(comparison.mismatches, key=_severity)],
    }


def _difference(mismatch: Mismatch) -> Mapping[str, Any]:
    values: list[tuple[str, Lines]] = []
    if mismatch.outcome is not Outcome.NOT_COMPARED:
        values = list(zip(("legacy", "unified"), side_by_side(mismatch.legacy, mismatch.unified), strict=True))
    return {"path": mismatch.path, "outcome": mismatch.outcome.value, "reason": mismatch.reason, "values": values}


def _lines(value: Any) -> list[str]:
    if value == {"$absent": True}:
        return ["(absent)"]
    lines = json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True).splitlines()
    more = len(lines) - LINE_LIMIT
    shown = [line if len(line) <= WIDTH_LIMIT else f"{line[:WIDTH_LIMIT]}…" for line in lines[:LINE_LIMIT]]
    return [*shown, f"… and {more} more lines"] if more > 0 else shown


def _waived(report: ParityReport) -> list[tuple[str, str, int]]:
    used = Counter(mismatch.reason for mismatch in report.mismatches if mismatch.outcome is Outcome.WAIVED)
    parts = [(reason.partition(": "), count) for reason, count in used.items()]
    return sorted((name, why, count) for (name, _, why), count in parts)
