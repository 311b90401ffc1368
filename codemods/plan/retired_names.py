"""Legacy names in any text: removed modules, their files, registered task names."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

from codemods.plan.plan_index import PlanIndex


def retired_names(index: PlanIndex) -> re.Pattern[bytes] | None:
    """Return a pattern for the names of removed modules, their files, and dotted task names that change."""
    words = set()
    for module in index.retired_modules:
        words |= {module, module.replace(".", "/") + ".py"}
        if "_" in module.rpartition(".")[2]:
            words.add(module.rpartition(".")[2])
    # A name that the unified task keeps is right wherever it stands.
    words |= {t.name for t in index.targets.values() if "." in t.name and t.name != t.unified}
    return bounded(words) if words else None


def bounded(words: set[str]) -> re.Pattern[bytes]:
    """Return a pattern for any of the words as a whole."""
    joined = b"|".join(re.escape(word.encode()) for word in sorted(words, key=len, reverse=True))
    return re.compile(rb"(?<![A-Za-z0-9_.])(?:" + joined + rb")(?![A-Za-z0-9_])")


def named_in_python(index: PlanIndex, text: bytes, edited: list[tuple[int, int]]) -> Iterator[tuple[int, str]]:
    """Yield offset and name of every retired module still named in a Python file, comments and strings included.

    Args:
        index: The plan's.
        text: The file's.
        edited: Spans that are replaced, sorted; what lies in one is left out.
    """
    pattern = retired_names(index)
    for match in pattern.finditer(text) if pattern else ():
        before = bisect_right(edited, (match.start(), len(text)))
        if not before or edited[before - 1][1] < match.end():
            yield match.start(), match.group().decode()
