"""Suppress the leftovers of the rewrite in the sample, by ignore comments with a reason, as a person would.

This is done and committed before the rewrite, so that a rollback restores the comments too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from migrator.report import Finding

#: Reason code -> why the leftover is fine in the sample.
REASONS = {
    "RETIRED-TASK": "these jobs are removed with the legacy tasks; nothing imports them afterwards",
    "COMPUTED-NAME": "called by hand only; use unified names from now on",
    "DRAMATIQ-SETTING": "a rollback needs it",
    "MIDDLEWARE": "removed with Dramatiq; Celery's signals do the same",
    "LEGACY-NAME": "the ImportError branch covers it",
}


def suppress_leftovers(folder: Path, leftovers: Iterable[Finding]) -> int:
    """Write an ignore comment above each leftover that has a reason; return their number.

    Args:
        folder: The plan's folder, to which the paths are relative.
        leftovers: Findings whose ``where`` is ``path:line``.
    """
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for finding in leftovers:
        path, _, line = finding.where.rpartition(":")
        if finding.code in REASONS:
            found[path][int(line)] = finding.code
    for path, codes in found.items():
        file = folder / path
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        for number in sorted(codes, reverse=True):
            code, text = codes[number], lines[number - 1]
            indent = text[: len(text) - len(text.lstrip())]
            lines.insert(number - 1, f"{indent}# migrator: ignore[{code}] {REASONS[code]}\n")
        file.write_text("".join(lines), encoding="utf-8")
    return sum(map(len, found.values()))
