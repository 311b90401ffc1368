"""Remove items from a written sequence with their commas, leaving the layout of the others."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from codemods.editing.context import FileContext


def remove_items(context: FileContext, items: Sequence[cst.CSTNode], removed: Sequence[cst.CSTNode]) -> None:
    """Remove some items of a comma-separated sequence; the last ones go with the comma before them."""
    span = context.source.span
    trailing: list[cst.CSTNode] = []
    for item in reversed(items):
        if item not in removed:
            break
        trailing.insert(0, item)
    for index, item in enumerate(items):
        if item in removed and item not in trailing:
            context.replace_span(span(item)[0], span(items[index + 1])[0], "")
    if not trailing:
        return
    last = items[-1]
    if len(trailing) < len(items) and (lines := _own_lines(context, trailing[0], last)):
        context.replace_span(*lines, "")
        return
    if len(trailing) < len(items):
        kept = items[len(items) - len(trailing) - 1]
        context.replace_span(_end(context, kept), _end(context, last), "")
    else:
        comma = getattr(last, "comma", None)
        end = span(comma)[1] if isinstance(comma, cst.Comma) else _end(context, last)
        context.replace_span(span(items[0])[0], end, "")


def _own_lines(context: FileContext, first: cst.CSTNode, last: cst.CSTNode) -> tuple[int, int] | None:
    """Return the lines of items that stand on lines of their own, or None: what stands above keeps its comment."""
    text = context.source.text
    start = context.source.span(first)[0]
    opening = text.rfind(b"\n", 0, start) + 1
    closing = text.find(b"\n", _end(context, last))
    rest = text[_end(context, last) : closing].decode("utf-8").strip() if closing >= 0 else "x"
    if text[:opening].rstrip(b"\r\n").endswith(b"\\"):
        return None  # a continued line needs what follows it
    if text[opening:start].strip() or rest.lstrip(",").strip().partition("#")[0]:
        return None
    return opening, closing + 1


def _end(context: FileContext, item: cst.CSTNode) -> int:
    """Return where an item ends without its comma."""
    if isinstance(item, cst.ImportAlias):
        return context.source.span(item.asname.name if item.asname else item.name)[1]
    value = getattr(item, "value", None)
    return context.source.span(value if isinstance(value, cst.CSTNode) else item)[1]
