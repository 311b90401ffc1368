"""One source file: its bytes, its parse, and where each node lies in them.

Offsets count bytes of the file's text in UTF-8; the file's own encoding, byte order mark and line ends are put back
untouched. A file whose parse does not print back exactly is refused, so that an offset is never wrong.
"""

from __future__ import annotations

import codecs
import io
import re
import tokenize
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from pathlib import Path

import libcst as cst

from codemods.syntax.read_tree import read_tree
from codemods.syntax.scopes import Tree
from codemods.syntax.spans import character_spans, statement_spans

#: Blank lines with a form feed, and everything blank at the end of a file.
_BLANK = re.compile(r"^[ \t\x0c]*\x0c[ \t\x0c]*(?=\r?$)|^[ \t\x0c\r\n]+\Z", re.MULTILINE)


#: Each statement that is located alone is searched for in the whole text; beyond this many, all of it is printed once.
_ONE_BY_ONE = 40


class UnparsableError(Exception):
    """A file that can't be parsed, or not be printed back byte for byte; the text says why."""


@dataclass(slots=True)
class SourceFile:
    """A parsed file."""

    file: Path
    data: bytes
    encoding: str
    #: The text in UTF-8, without a byte order mark.
    text: bytes
    #: Bytes before the first one that the parser sees (a byte order mark is not counted).
    lead: int
    module: cst.Module
    #: The text as the parser saw it: blanks that it does not print back are line ends there, one for one.
    seen: str
    _tree: Tree | None = None
    #: Where nodes lie, in characters of :attr:`seen`: those of the statements that were asked about, or all.
    _spans: dict[cst.CSTNode, tuple[int, int]] = field(default_factory=dict)
    _complete: bool = False
    #: How many statements were located one by one.
    _located: int = 0
    #: Where each line of :attr:`seen` starts, in characters and in bytes; computed when first asked for.
    _line_starts: list[tuple[int, int]] = field(default_factory=list)
    #: Where each line of :attr:`text` ends; computed when first asked for.
    _line_ends: list[int] = field(default_factory=list)

    @property
    def tree(self) -> Tree:
        """Scopes and bindings, computed when first asked for."""
        if self._tree is None:
            self._tree = read_tree(self.module)
        return self._tree

    def span(self, node: cst.CSTNode) -> tuple[int, int]:
        """Return where a node starts and ends in :attr:`text`, its own parentheses included."""
        start, end = self.bare_span(node)
        opening = getattr(node, "lpar", None)
        if opening and isinstance(opening, (list, tuple)):
            start = self.bare_span(opening[0])[0]
            end = self.bare_span(node.rpar[-1])[1]  # type: ignore[attr-defined]
        return start, end

    def bare_span(self, node: cst.CSTNode) -> tuple[int, int]:
        """Return where a node starts and ends, without its own parentheses."""
        if node not in self._spans and not self._complete:
            self._locate(node)
        start, end = self._spans[node]
        if not self.seen.isascii():
            start, end = self._in_bytes(start), self._in_bytes(end)
        return self.lead + start, self.lead + end

    def stand_in(self, node: cst.CSTNode, place: cst.CSTNode) -> None:
        """Let a node that isn't in the text have the place of one that is."""
        self.bare_span(place)
        self._spans[node] = self._spans[place]

    def _in_bytes(self, position: int) -> int:
        """Return how many bytes a number of characters of :attr:`seen` takes in UTF-8."""
        if not self._line_starts:
            self._line_starts.append((0, 0))
            for line in self.seen.split("\n"):
                start, length = self._line_starts[-1]
                self._line_starts.append((start + len(line) + 1, length + len(line.encode("utf-8")) + 1))
        start, length = self._line_starts[bisect_right(self._line_starts, (position, len(self.text))) - 1]
        return length + len(self.seen[start:position].encode("utf-8"))

    def _locate(self, node: cst.CSTNode) -> None:
        """Print the statement that holds a node, or everything where the place of that is not certain."""
        self._located += 1
        found = statement_spans(self.module, self._statement(node), self.seen) if self._located <= _ONE_BY_ONE else {}
        if node in found:
            self._spans.update(found)
            return
        spans, printed = character_spans(self.module)
        self._spans.update(spans)
        self._complete = True
        if printed != self.seen:
            raise UnparsableError("the parser does not print it back byte for byte (lone carriage returns, form feeds)")

    def _statement(self, node: cst.CSTNode) -> cst.CSTNode:
        """Return the statement of the module that holds a node; the module if that is not known."""
        here: cst.CSTNode | None = node
        while here is not None:
            holder = self.tree.parents.get(here)
            if holder is self.module:
                return here
            here = holder
        return self.module

    def code(self, node: cst.CSTNode) -> str:
        """Return a node as it is written."""
        start, end = self.span(node)
        return self.text[start:end].decode("utf-8")

    def line(self, node: cst.CSTNode) -> int:
        """Return the line in which a node starts, counted from 1."""
        return self.line_at(self.span(node)[0])

    def line_at(self, offset: int) -> int:
        """Return the line of an offset, counted from 1."""
        return bisect_left(self._ends(), offset) + 1

    def line_text(self, number: int) -> str:
        """Return one line without its end."""
        ends = self._ends()
        if not 0 < number <= len(ends):
            return ""
        start = ends[number - 2] + 1 if number > 1 else 0
        return self.text[start : ends[number - 1]].decode("utf-8").rstrip("\r")

    def _ends(self) -> list[int]:
        """Return the offsets of the line feeds, and of the end of the text."""
        if not self._line_ends:
            self._line_ends += [match.start() for match in re.finditer(b"\n", self.text)]
            self._line_ends.append(len(self.text))
        return self._line_ends

    def newline(self) -> str:
        """Return the file's line end."""
        return "\r\n" if b"\r\n" in self.text else "\n"

    def encode(self, text: bytes) -> bytes:
        """Return changed text in the file's own encoding, with its byte order mark.

        Raises:
            UnparsableError: The encoding has no form for a character.
        """
        mark = codecs.BOM_UTF8 if self.data.startswith(codecs.BOM_UTF8) else b""
        if self.encoding in {"utf-8", "utf-8-sig"}:
            return mark + text
        try:
            return text.decode("utf-8").encode(self.encoding)
        except UnicodeEncodeError as error:
            raise UnparsableError(f"the change can't be written in {self.encoding}: {error}") from error


def read_source(file: Path, data: bytes) -> SourceFile:
    """Parse a file's bytes.

    Raises:
        UnparsableError: It can't be decoded or parsed, or does not print back exactly.
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8" if encoding == "utf-8-sig" else encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise UnparsableError(f"can't be decoded: {error}") from error
    lead = len(text) - len(text.lstrip("\x0c"))
    seen = _BLANK.sub(lambda match: re.sub(r"[ \t\x0c]", "\n", match.group()), text[lead:])
    try:
        module = cst.parse_module(seen)
    except cst.ParserSyntaxError as error:
        raise UnparsableError(f"line {error.raw_line}: {error.message}") from error
    except (RecursionError, ValueError) as error:
        raise UnparsableError(str(error)) from error
    return SourceFile(
        file=file, data=data, encoding=encoding, text=text.encode("utf-8"), lead=lead, module=module, seen=seen
    )
