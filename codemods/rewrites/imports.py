"""Imports of legacy tasks and modules: they stay in place, keep alias, comment and layout, and are split if mixed.

Source: https://docs.python.org/3/reference/simple_stmts.html#import
"""

from __future__ import annotations

import libcst as cst

from codemods.editing.context import FileContext
from codemods.editing.sequences import remove_items
from codemods.editing.statements import write_statements
from codemods.protocol import Rewrite
from codemods.resolve.name_resolution import dotted_name
from codemods.uses.import_plan import Change, plan_changes

Imported = tuple[str, str, str]


def rewrite(context: FileContext) -> None:
    """Rewrite the import statements whose uses were rewritten."""
    changes = plan_changes(context, context.result.imports)
    by_statement: dict[cst.CSTNode, list[Change]] = {}
    for change in changes:
        by_statement.setdefault(change.item.statement, []).append(change)
    emitted: dict[int, set[Imported]] = {}
    for statement, group in by_statement.items():
        block = _block(context, statement)
        done = emitted.setdefault(id(block), _present(context, statement, block))
        if isinstance(statement, cst.ImportFrom):
            _from_import(context, statement, group, done)
        else:
            assert isinstance(statement, cst.Import)
            _plain_import(context, statement, group, done)
    for statement in context.tree.imports if context.index.doubtful else ():
        _list_doubtful(context, statement)


def _list_doubtful(context: FileContext, statement: cst.Import | cst.ImportFrom) -> None:
    """List an import of a module that two folders have."""
    base = context.values.base(statement) if isinstance(statement, cst.ImportFrom) else ""
    names = [] if isinstance(statement.names, cst.ImportStar) else [a.evaluated_name for a in statement.names]
    paths = {base, *(f"{base}.{name}" if base else name for name in names)}
    for module, folder in context.index.doubtful.items():
        if module in paths:
            context.leave(statement, "AMBIGUOUS", f"{module} is in {folder} and in the plan's root")


def _block(context: FileContext, statement: cst.CSTNode) -> cst.CSTNode | None:
    """Return the block of a statement: an import in another one may never have run."""
    line = context.parent(statement)
    return context.parent(line) if line is not None else None


def _present(context: FileContext, statement: cst.CSTNode, block: cst.CSTNode | None) -> set[Imported]:
    """Return the imports that a block has already and keeps."""
    found: set[Imported] = set()
    for name, group in context.tree.scopes[statement].bindings.items():
        for binding in group:
            if isinstance(binding.statement, cst.ImportFrom) and _block(context, binding.statement) is block:
                module, _, leaf = context.values.imported(binding).rpartition(".")
                found.add((module, leaf, name))
    return found


def _from_import(context: FileContext, statement: cst.ImportFrom, group: list[Change], done: set[Imported]) -> None:
    assert not isinstance(statement.names, cst.ImportStar)
    moves: dict[str, list[tuple[Change, str, str]]] = {}
    removed: list[cst.ImportAlias] = []
    for change in group:
        if not change.keep:
            removed.append(change.item.alias)
        for module, name, local in change.become:
            entry = (module, name, local) if name else (module.rpartition(".")[0], module.rpartition(".")[2], local)
            if entry in done:
                continue
            done.add(entry)
            moves.setdefault(entry[0], []).append((change, entry[1], entry[2]))
    staying = [alias for alias in statement.names if alias not in removed]
    home = next(iter(moves), "")
    if not staying and len(moves) == 1 and not any(change.keep for change in group):
        _in_place(context, statement, home, moves[home])
        return
    base = context.values.base(statement)
    same = moves.pop(base, [])
    replaced = [change.item.alias for change, _, _ in same if not change.keep]
    for change, name, local in same:
        if change.item.alias in replaced:
            _write_alias(context, change.item.alias, name, local)
        else:
            moves.setdefault(base, []).append((change, name, local))
    gone = [alias for alias in removed if alias not in replaced]
    lines = _lines(context, statement, {m: [(n, loc) for _, n, loc in items] for m, items in moves.items()})
    write_statements(context, statement, lines, instead=len(gone) == len(statement.names))
    if len(gone) < len(statement.names):
        remove_items(context, statement.names, gone)


def _in_place(context: FileContext, statement: cst.ImportFrom, home: str, items: list[tuple[Change, str, str]]) -> None:
    """Every alias goes to one module: only names are replaced, the statement's layout stays."""
    assert not isinstance(statement.names, cst.ImportStar)
    _write_module(context, statement, home)
    kept = []
    for change, name, local in items:
        _write_alias(context, change.item.alias, name, local)
        kept.append(change.item.alias)
    remove_items(context, statement.names, [alias for alias in statement.names if alias not in kept])


def _write_module(context: FileContext, statement: cst.ImportFrom, home: str) -> None:
    if context.values.base(statement) == home:
        return
    text = _spelled(context, statement, home)
    if statement.relative:
        start = context.source.span(statement.relative[0])[0]
        end = context.source.span(statement.module or statement.relative[-1])[1]
    else:
        assert statement.module is not None
        start, end = context.source.span(statement.module)
    context.replace_span(start, end, text)


def _spelled(context: FileContext, statement: cst.ImportFrom | cst.Import, home: str) -> str:
    """Return a module as this statement would write it: relative if it was and still can be."""
    if not isinstance(statement, cst.ImportFrom) or not statement.relative:
        return home
    base = context.values.base(statement)
    written = dotted_name(statement.module) if statement.module else ""
    package = base[: len(base) - len(written)].rstrip(".") if written else base
    dots = "." * len(statement.relative)
    if home == package:
        return dots
    return dots + home[len(package) + 1 :] if package and home.startswith(package + ".") else home


def _write_alias(context: FileContext, alias: cst.ImportAlias, name: str, local: str) -> None:
    if alias.evaluated_name != name:
        context.replace(alias.name, name)
    if not alias.asname and local and local != name:
        context.insert_after(alias.name, f" as {local}")


def _plain_import(context: FileContext, statement: cst.Import, group: list[Change], done: set[Imported]) -> None:
    removed = []
    added: list[str] = []
    for change in group:
        for index, (module, name, local) in enumerate(change.become):
            entry = (module, name, local)
            if entry in done:
                if not change.keep:
                    removed.append(change.item.alias)
                continue
            done.add(entry)
            if not name and not change.keep and index == 0:
                context.replace(change.item.alias.name, module)
            elif name:
                added.append(f"from {module} import {name}" + (f" as {local}" if local != name else ""))
            else:
                added.append(f"import {module}" + (f" as {local}" if local else ""))
        if change.become and change.become[0][1] and not change.keep:
            removed.append(change.item.alias)
    write_statements(context, statement, added, instead=len(removed) == len(statement.names))
    if len(removed) < len(statement.names):
        remove_items(context, statement.names, removed)


def _lines(context: FileContext, statement: cst.ImportFrom, moves: dict[str, list[tuple[str, str]]]) -> list[str]:
    lines = []
    for module, names in moves.items():
        listed = ", ".join(f"{name} as {local}" if local != name else name for name, local in names)
        lines.append(f"from {_spelled(context, statement, module)} import {listed}")
    return lines


REWRITE = Rewrite(name="imports", whole_file=rewrite, last=True)
