"""What it would take to parse a file: one of megabytes of literals takes gigabytes, and minutes.

Measured with LibCST 1.8: 1.1 to 2.2 KiB for each token, a string of any length counted as one.
"""

from __future__ import annotations

import re

#: The most that the parse of one file may take.
MOST_MIB = 2048
_KIB_A_TOKEN = 2.2
#: A byte costs no more than a token: smaller files are not looked at.
_SMALL_BYTES = 900_000
_STRINGS = re.compile(rb"'''.*?'''|\"\"\".*?\"\"\"|'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"|#[^\n]*", re.DOTALL)
_TOKENS = re.compile(rb"\w+|[^\w\s]")


def too_costly(data: bytes) -> str:
    """Return why a file is not parsed; empty if it may be."""
    if len(data) < _SMALL_BYTES:
        return ""
    tokens = sum(1 for _ in _TOKENS.finditer(_STRINGS.sub(b"s", data)))
    needed_mib = tokens * _KIB_A_TOKEN / 1024
    if needed_mib <= MOST_MIB:
        return ""
    size = f"{len(data) / 1e6:.1f} MB"
    return f"{size}; its parse would take about {needed_mib / 1024:.1f} GiB, and at most {MOST_MIB / 1024:.0f} are used"
