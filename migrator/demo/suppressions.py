"""What a person decides about the places that the rewrite leaves alone: here, as comments with a reason in the sample.

Done before the rewrite and committed, so that a rollback comes back to them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from migrator.report import Finding

#: Reason code -> why the place may stay as it is, in the sample.
REASONS = {
    "RETIRED-TASK": "these jobs go with the old tasks; nothing imports them afterwards",
    "COMPUTED-NAME": "called by hand only; unified names are given from now on",
    "DRAMATIQ-SETTING": "a rollback needs it",
    "MIDDLEWARE": "it goes with Dramatiq; the same is done by Celery's signals",
    "LEGACY-NAME": "the branch for ImportError covers it",
}


def dismiss(folder: Path, leftovers: Iterable[Finding]) -> int:
    """Write an ignore comment above each place for which there is a reason; returns how many.

    Args:
        folder: The plan's folder, to which the places are relative.
        leftovers: Findings whose ``where`` is ``path:line``.
    """
    places: dict[str, dict[int, str]] = defaultdict(dict)
    for finding in leftovers:
        path, _, line = finding.where.rpartition(":")
        if finding.code in REASONS:
            places[path][int(line)] = finding.code
    for path, codes in places.items():
        file = folder / path
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        for number in sorted(codes, reverse=True):
            code, text = codes[number], lines[number - 1]
            indent = text[: len(text) - len(text.lstrip())]
            lines.insert(number - 1, f"{indent}# migrator: ignore[{code}] {REASONS[code]}\n")
        file.write_text("".join(lines), encoding="utf-8")
    return sum(map(len, places.values()))
