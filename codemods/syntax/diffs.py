"""Differences as ``git apply`` takes them, byte for byte whatever the encoding."""

from __future__ import annotations

import os
import re


def unified_diff(shown: str, before: bytes, after: bytes) -> str:
    """Return the difference of two versions of a file as ``git apply`` takes it."""
    import difflib

    old, new = _lines(before), _lines(after)
    names = (_name("a", shown), _name("b", shown))
    lines = []
    for line in difflib.diff_bytes(difflib.unified_diff, old, new, *names):
        lines.append(line if line.endswith(b"\n") else line + b"\n\\ No newline at end of file\n")
    return b"".join(lines).decode("utf-8", errors="surrogateescape")


def _lines(data: bytes) -> list[bytes]:
    """Return lines as git counts them: a lone carriage return ends none."""
    return re.findall(rb"[^\n]*\n|[^\n]+", data)


def _name(side: str, shown: str) -> bytes:
    """Return a file's name as git writes it: in quotes, with octal escapes, where it is not plain text."""
    name = f"{side}/{shown}"
    if name.isprintable() and not set(name) & set('"\\'):
        return name.encode()
    plain = set(range(32, 127)) - set(b'"\\')
    escaped = "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in os.fsencode(name))
    return f'"{escaped}"'.encode()


def undo_part(shown: str, old: bytes | None, new: bytes) -> str:
    """Return the part of a patch that takes one change back; a created file is deleted."""
    first, second = (_name(side, shown).decode() for side in "ab")
    head = f"diff --git {first} {second}\n"
    if old is not None:
        return head + unified_diff(shown, new, old)
    body = unified_diff(shown, new, b"").replace(f"+++ {second}", "+++ /dev/null", 1)
    return f"{head}deleted file mode 100644\n{body}"


def shown_diff(shown: str, before: bytes, after: bytes) -> str:
    """Return the difference for people: bytes that are no UTF-8 are shown as the replacement character."""
    return (
        unified_diff(shown, before, after).encode("utf-8", errors="surrogateescape").decode("utf-8", errors="replace")
    )
