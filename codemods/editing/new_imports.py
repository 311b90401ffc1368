"""Write the imports that the rewrites of a file asked for."""

from __future__ import annotations

import libcst as cst

from codemods.editing.context import FileContext
from codemods.editing.statements import write_below, write_statements


def add_imports(context: FileContext, statement: cst.CSTNode | None, *, instead: bool) -> bool:
    """Write every wanted import beside or instead of a statement and forget it; without one, at the top.

    Returns:
        Whether anything was written.
    """
    if not context.result.wanted_imports:
        return False
    by_module: dict[str, list[str]] = {}
    for (module, name), local in context.result.wanted_imports.items():
        by_module.setdefault(module, []).append(name if local == name else f"{name} as {local}")
    lines = [f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(by_module.items())]
    context.result.wanted_imports.clear()
    if statement is not None:
        write_statements(context, statement, lines, instead=instead)
        return True
    newline = context.source.newline()
    last = last_import(context)
    if last is None:
        start = after_docstring(context)
        context.replace_span(start, start, "".join(line + newline for line in lines))
        return True
    write_below(context, last, lines)
    return True


def last_import(context: FileContext) -> cst.CSTNode | None:
    """Return the last import of the block at the top of a file."""
    last = None
    for statement in context.source.module.body:
        if isinstance(statement, cst.SimpleStatementLine) and statement.body:
            small = statement.body[0]
            if isinstance(small, (cst.Import, cst.ImportFrom)):
                last = statement
                continue
            if isinstance(small, cst.Expr) and isinstance(small.value, (cst.SimpleString, cst.ConcatenatedString)):
                continue
        if last is not None:
            break
    return last


def after_docstring(context: FileContext) -> int:
    """Return where the first statement after a module's docstring starts."""
    body = context.source.module.body
    if body and context.source.module.get_docstring() is not None:
        return context.source.text.find(b"\n", context.source.span(body[0])[1]) + 1
    return 0
