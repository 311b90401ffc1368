"""On which line of a TOML document each value stands, by its path as problems name it: ``task[3].replaces[0].system``.

Of a document that :mod:`tomllib` has read, which tells no lines. Source: toml.io/en/v1.0.0.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r'(?P<text>"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\])*"|\'[^\']*\')'
    r"|(?P<skipped>#[^\n]*|[ \t\r]+)|(?P<sign>[\[\]{}=,.\n])|(?P<bare>[^\s\[\]{}=,.#\"']+)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    line: int
    #: It is no sign between others: a part of a key, or of a value.
    word: bool


@dataclass(slots=True)
class _TomlReader:
    tokens: list[_Token]
    found: dict[str, int] = field(default_factory=dict)
    #: Tables of each array so far, by its path.
    counted: Counter[str] = field(default_factory=Counter)
    at: int = 0

    def next(self) -> str:
        return self.tokens[self.at].text if self.at < len(self.tokens) else ""

    def skip(self, *signs: str) -> bool:
        """Go past the signs that stand next; tell whether there were any."""
        began = self.at
        while self.next() in signs:
            self.at += 1
        return self.at > began

    def key(self) -> list[str]:
        parts = []
        while self.at < len(self.tokens) and (self.tokens[self.at].word or self.next() == "."):
            if self.tokens[self.at].word:
                parts.append(_plain(self.next()))
            self.at += 1
        return parts

    def document(self) -> None:
        table = ""
        while self.skip("\n") or self.at < len(self.tokens):
            if self.at >= len(self.tokens):
                return
            line = self.tokens[self.at].line
            if self.next() == "[":
                self.at += 1
                several = self.skip("[")
                table = self.header(self.key(), line, several=several)
                self.skip("]")
            else:
                self.pair(table)

    def header(self, parts: list[str], line: int, *, several: bool) -> str:
        path = ""
        for index, part in enumerate(parts):
            path = _joined(path, part)
            self.found.setdefault(path, line)
            if several and index == len(parts) - 1:
                self.counted[path] += 1
            if path in self.counted:
                path = f"{path}[{self.counted[path] - 1}]"
                self.found.setdefault(path, line)
        return path

    def pair(self, table: str) -> None:
        line = self.tokens[self.at].line
        path = table
        for part in self.key():
            path = _joined(path, part)
            self.found.setdefault(path, line)
        self.skip("=")
        self.value(path)

    def value(self, path: str) -> None:
        self.found.setdefault(path, self.tokens[self.at].line)
        if self.next() == "[":
            self.at += 1
            index = 0
            while self.skip("\n", ",") or self.next() != "]":
                if self.next() == "]":
                    break
                self.value(f"{path}[{index}]")
                index += 1
            self.at += 1
        elif self.next() == "{":
            self.at += 1
            while self.skip("\n", ",") or self.next() != "}":
                if self.next() == "}":
                    break
                self.pair(path)
            self.at += 1
        else:
            # A number or a time may have dots in it.
            while self.at < len(self.tokens) and (self.tokens[self.at].word or self.next() == "."):
                self.at += 1


def _plain(text: str) -> str:
    return str(tomllib.loads(f"key = {text}")["key"]) if text[0] in "\"'" else text


def _joined(path: str, part: str) -> str:
    return f"{path}.{part}" if path else part


def toml_lines(text: str) -> dict[str, int]:
    """Return the line of each table, key and item of an array of a valid document, counted from 1."""
    tokens, line = [], 1
    for match in _TOKEN.finditer(text):
        if match["skipped"] is None:
            tokens.append(_Token(match[0], line, match["sign"] is None))
        line += match[0].count("\n")
    reader = _TomlReader(tokens)
    reader.document()
    return reader.found


def line_of(lines: dict[str, int], path: str) -> int | None:
    """Return the line of a path, or of the nearest table around it; None if the document has neither."""
    while path and path not in lines:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return lines.get(path)
