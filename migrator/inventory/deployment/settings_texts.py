"""The settings module in the text of deployment files: environment of any syntax, defaults of references included."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "DJANGO_SETTINGS_MODULE"
_NAMED = re.compile(
    rf"\b{VARIABLE}[\"']?(?:[ \t]*[:=,][ \t]*|[ \t]+|[ \t]*\n[ \t]*value:[ \t]*)[\"']?(?:\$\{{\w+:?-)?([A-Za-z_][\w.]*)"
)
_COMMENT = re.compile(r"^([ \t]*)[#;].*$", re.MULTILINE)


def named_in(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line and name of each settings module that a text gives the variable; comments say nothing."""
    plain = _COMMENT.sub(r"\1", text)
    for match in _NAMED.finditer(plain):
        yield plain.count("\n", 0, match.start()) + 1, match[1]


def from_files(folder: Path, names: list[str]) -> dict[str, str]:
    """Return the variable alone as files of variables give it, the last one first."""
    for name in reversed(names):
        file = folder / name
        if file.is_file() and (found := list(named_in(file.read_text(encoding="utf-8", errors="replace")))):
            return {VARIABLE: found[-1][1]}
    return {}
