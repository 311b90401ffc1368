"""Write the imports that the rewrites of a file asked for."""

from __future__ import annotations

import sys

import libcst as cst

from codemods.editing.context import FileContext
from codemods.editing.statements import write_below, write_statements

#: The project's own section, behind those of the standard library and of third parties.
_OWN = 3


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
    block = _import_block(context)
    if not block:
        start, newline = after_docstring(context), context.source.newline()
        context.replace_span(start, start, "".join(line + newline for line in lines))
        return True
    sections = [_section(context, statement) for statement in block]
    by_section: dict[int, list[str]] = {}
    for line in lines:
        by_section.setdefault(_section_of(context, line.split()[1]), []).append(line)
    for section, group in sorted(by_section.items()):
        before = [known for known in sections if known <= section]
        if not before:
            write_statements(context, block[0], [*group, ""], instead=False)
        else:
            anchor = len(sections) - 1 - sections[::-1].index(max(before))
            write_below(context, block[anchor], group if section in before else ["", *group])
    return True


def _import_block(context: FileContext) -> list[cst.Import | cst.ImportFrom]:
    """Return the imports at the top of a file, the first of each line."""
    found: list[cst.Import | cst.ImportFrom] = []
    for statement in context.source.module.body:
        if isinstance(statement, cst.SimpleStatementLine) and statement.body:
            small = statement.body[0]
            if isinstance(small, (cst.Import, cst.ImportFrom)):
                found.append(small)
                continue
            if isinstance(small, cst.Expr) and isinstance(small.value, (cst.SimpleString, cst.ConcatenatedString)):
                continue
        if found:
            break
    return found


def _section(context: FileContext, statement: cst.Import | cst.ImportFrom) -> int:
    if isinstance(statement, cst.ImportFrom):
        return _OWN if statement.relative else _section_of(context, context.values.base(statement))
    return _section_of(context, statement.names[0].evaluated_name)


def _section_of(context: FileContext, module: str) -> int:
    """Return the section of a module as isort has them: future, standard library, third party, the project's own."""
    top = module.partition(".")[0]
    if top == "__future__" or top in sys.stdlib_module_names:
        return 1 - (top == "__future__")
    own = any((context.index.root / name).exists() for name in (top, f"{top}.py"))
    return _OWN if own else 2


def after_docstring(context: FileContext) -> int:
    """Return where the first statement after a module's docstring starts."""
    body = context.source.module.body
    if body and context.source.module.get_docstring() is not None:
        return context.source.text.find(b"\n", context.source.span(body[0])[1]) + 1
    return 0
