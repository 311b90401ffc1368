"""Patterns with ``*`` for any text; every other character stands for itself, brackets included."""

from __future__ import annotations

import re
from functools import lru_cache


def fits(pattern: str, text: str) -> bool:
    """True if the whole ``text`` matches ``pattern``."""
    return _compiled(pattern).fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
