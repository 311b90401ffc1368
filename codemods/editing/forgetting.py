"""Statements and parts of them that go, with the uses of tasks and the leftovers in them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import libcst as cst

from codemods.editing.context import FileContext
from codemods.editing.edits import Span
from codemods.editing.statements import remove_statement


def remove_and_forget(context: FileContext, node: cst.CSTNode, *, told: frozenset[str] = frozenset()) -> None:
    """Remove a statement, or a call that is one, with what was found in it; a block is never left empty."""
    holder = context.parent(node)
    statement = holder if isinstance(holder, cst.Expr) else node
    forget(context, [context.source.span(statement)], told=told)
    remove_statement(context, statement)


def forget(context: FileContext, spans: Sequence[Span], *, told: frozenset[str] = frozenset()) -> None:
    """Forget edits, uses and leftovers inside spans that go.

    Args:
        context: The file.
        spans: They don't overlap.
        told: Codes of the leftovers that are about the removal itself.
    """
    if not spans:
        return
    gone = sorted(spans)
    for span in gone:
        context.result.edits.take(span, context.source.text)
    for use in context.uses:
        start, end = context.source.span(use.node)
        before = bisect_right(gone, (start, len(context.source.text)))
        if before and end <= gone[before - 1][1]:
            use.removed = use.rewritten = True
    line_at = context.source.line_at
    lines = {line for start, end in gone for line in range(line_at(start), line_at(end) + 1)}
    for item in [item for item in context.result.leftovers if item.line in lines and item.code not in told]:
        del context.result.leftovers[item]
