"""Statements as text: removed with their line, or written in the place of others."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from codemods.editing.context import FileContext

#: What Black takes for the length of a line.
_LENGTH = 88


def write_statements(context: FileContext, statement: cst.CSTNode, lines: Sequence[str], *, instead: bool) -> None:
    """Write statements in front of one or in its place, on lines of their own where the statement has its own."""
    start, end = context.source.span(statement)
    line = context.parent(statement)
    if isinstance(line, cst.SimpleStatementLine) and line.body[0] is statement:
        opening = context.source.text.rfind(b"\n", 0, start) + 1
        separator = context.source.newline() + context.source.text[opening:start].decode("utf-8").lstrip("\x0c")
        lines = [_wrapped(context, text, separator) for text in lines]
    else:
        separator = "; "
    if not instead:
        context.replace_span(start, start, "".join(text + separator for text in lines))
    elif lines:
        context.replace_span(start, end, separator.join(lines))
    else:
        remove_statement(context, statement)


def write_below(context: FileContext, statement: cst.CSTNode, lines: Sequence[str]) -> None:
    """Write statements on lines of their own below one, with its indentation."""
    start, end = context.source.span(statement)
    text = context.source.text
    closing = text.find(b"\n", end)
    closing = len(text) if closing < 0 else closing
    closing -= 1 if text[closing - 1 : closing] == b"\r" else 0
    first = text[text.rfind(b"\n", 0, start) + 1 : closing].decode("utf-8").lstrip("\x0c")
    indent = first[: len(first) - len(first.lstrip())]
    separator = context.source.newline() + indent
    context.replace_span(closing, closing, "".join(separator + _wrapped(context, line, separator) for line in lines))


def _wrapped(context: FileContext, line: str, separator: str) -> str:
    """Return an import as it is, or with a line for each name where it would be longer than the file's other lines."""
    indent = len(separator.lstrip("\r\n"))
    head, found, names = line.partition(" import ")
    if not found or not head.startswith("from ") or indent + len(line) <= _LENGTH:
        return line
    if indent + len(line) <= max(map(len, context.source.text.decode("utf-8").splitlines()), default=0):
        return line
    inner = "".join(f"{separator}    {name}," for name in names.split(", "))
    return f"{head} import ({inner}{separator})"


def remove_statement(context: FileContext, statement: cst.CSTNode) -> None:
    """Remove a statement with its line, or put ``pass`` where Python or a comment needs one."""
    line = context.parent(statement)
    start, end = context.source.span(statement)
    block = context.parent(line) if line is not None else None
    closing = context.source.text.find(b"\n", end)
    closing = len(context.source.text) if closing < 0 else closing
    alone = isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1
    needed = isinstance(block, cst.IndentedBlock) and len(block.body) == 1
    if not alone or needed or context.source.text[end:closing].strip():
        context.replace_span(start, end, "pass")
    else:
        opening = context.source.text.rfind(b"\n", 0, start) + 1
        context.replace_span(opening, min(closing + 1, len(context.source.text)), "")


def remove_line(context: FileContext, decorator: cst.Decorator) -> None:
    """Remove a decorator with its lines and what is edited in it; a comment beside it goes too."""
    text = context.source.text
    start, end = context.source.span(decorator.decorator)
    opening = text.rfind(b"\n", 0, text.rfind(b"@", 0, start) + 1) + 1
    closing = text.find(b"\n", end)
    context.result.edits.take((opening, closing + 1), text)
    context.replace_span(opening, closing + 1, "")
