"""Where each node of a parse lies: LibCST prints the module, and every node's start and end are noted on the way.

The same answers as LibCST's own position providers (they are the oracle in the tests) in half the time: nothing is
encoded, and the text for the check that it prints back exactly comes with them. Most files are asked about a few
statements only: those are printed alone, and found in the text of the file.
Source: ``libcst/metadata/span_provider.py``, ``libcst/_nodes/internal.py``.
"""

from __future__ import annotations

import re

import libcst as cst
from libcst._nodes.internal import CodegenState

_LONE = re.compile(r"\r(?!\n)")


class _Spans(CodegenState):
    """Counts characters while it prints."""

    def __init__(self, module: cst.Module) -> None:
        super().__init__(default_indent=module.default_indent, default_newline=module.default_newline)
        self.position = 0
        self.starts: list[int] = []
        self.found: dict[cst.CSTNode, tuple[int, int]] = {}

    def add_indent_tokens(self) -> None:
        for token in self.indent_tokens:
            self.position += len(token)
            self.tokens.append(token)

    def add_token(self, value: str) -> None:
        self.tokens.append(value)
        self.position += len(value)

    def before_codegen(self, node: cst.CSTNode) -> None:
        self.starts.append(self.position)

    def after_codegen(self, node: cst.CSTNode) -> None:
        start = self.starts.pop()
        if node not in self.found:
            self.found[node] = (start, self.position)

    def record_syntactic_position(  # type: ignore[override]
        self, node: cst.CSTNode, *, start_node: cst.CSTNode | None = None, end_node: cst.CSTNode | None = None
    ) -> _Recorded:
        return _Recorded(self, node, start_node, end_node)


class _Recorded:
    """Notes where a node starts and ends without its own parentheses and whitespace."""

    __slots__ = ("end_node", "node", "start", "start_node", "state")

    def __init__(
        self, state: _Spans, node: cst.CSTNode, start_node: cst.CSTNode | None, end_node: cst.CSTNode | None
    ) -> None:
        self.state, self.node, self.start_node, self.end_node = state, node, start_node, end_node

    def __enter__(self) -> None:
        self.start = self.state.position

    def __exit__(self, *error: object) -> None:
        found = self.state.found
        start = self.start if self.start_node is None else found[self.start_node][0]
        end = self.state.position if self.end_node is None else found[self.end_node][1]
        found[self.node] = (start, end)


def character_spans(module: cst.Module) -> tuple[dict[cst.CSTNode, tuple[int, int]], str]:
    """Return start and end of every node, counted in characters, and the text as it was printed.

    Own parentheses and outer whitespace of a node are left out.
    """
    state = _Spans(module)
    module._codegen(state)
    return state.found, "".join(state.tokens)


def statement_spans(module: cst.Module, statement: cst.CSTNode, text: str) -> dict[cst.CSTNode, tuple[int, int]]:
    """Return start and end of every node of one statement of a module, counted in characters of the module's text.

    Empty where it is not certain that the statement lies where its text is found: it is there twice, or not at all,
    or the file holds what LibCST may print back as something else.
    """
    if statement is module or "\x0c" in text or ("\r" in text and _LONE.search(text)):
        return {}
    state = _Spans(module)
    statement._codegen(state)
    printed = "".join(state.tokens)
    lines, line = f"\n{text}", f"\n{printed}"
    place = lines.find(line)
    if place < 0 or lines.find(line, place + 1) >= 0:
        return {}
    return {node: (start + place, end + place) for node, (start, end) in state.found.items()}
