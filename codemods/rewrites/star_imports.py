"""``from legacy import *`` becomes an import by name, if only tasks are used through it.

Source: https://docs.python.org/3/reference/simple_stmts.html#import (public names of a module)
"""

from __future__ import annotations

import libcst as cst

from codemods.editing.context import FileContext, Use
from codemods.editing.statements import write_below
from codemods.plan.plan_index import Target
from codemods.protocol import Rewrite
from codemods.resolve.name_resolution import dotted_name
from codemods.uses.names import listed_in_all, taken


def rewrite(context: FileContext) -> None:
    """Rewrite the star imports of removed modules."""
    for statement in context.tree.imports:
        if isinstance(statement, cst.ImportFrom) and isinstance(statement.names, cst.ImportStar):
            module = context.index.resolve(context.values.base(statement))
            if module in context.index.retired_modules:
                _rewrite_one(context, statement, module)


def _rewrite_one(context: FileContext, statement: cst.ImportFrom, module: str) -> None:
    uses = [use for use in context.uses if use.direct and isinstance(use.node, cst.Name)]
    uses = [use for use in uses if use.target.path == f"{module}.{use.node.value}"]  # type: ignore[attr-defined]
    others = [
        name
        for name in context.tree.loads
        if not context.values.bindings(name)
        and name.value in context.index.offered.get(module, ())
        and f"{module}.{name.value}" not in context.index.targets
    ]
    rewritten = [use for use in uses if use.rewritten]
    listed = sorted(listed_in_all(context) & context.index.offered.get(module, frozenset()))
    exported = {name: context.index.targets.get(f"{module}.{name}") for name in listed}
    moved = {name: target for name, target in exported.items() if target is not None and not target.retired}
    paths = {target.unified_path for target in moved.values()} | {use.target.unified_path for use in rewritten}
    homes = sorted({path.rpartition(".")[0] for path in paths})
    stays = len(rewritten) < len(uses) or len(moved) < len(exported)
    if others or len(homes) != 1 or stays or len(statement.relative) > 1:
        context.leave(others[0] if others else statement, "STAR-IMPORT", module)
        used = {home: _names(context, rewritten, {}, home) for home in homes}
        lines = [f"from {home} import {', '.join(used[home])}" for home in homes if used[home]]
        write_below(context, statement, lines)  # a name that the star brings too must not hide it
        return
    home = homes[0]
    names = _names(context, rewritten, moved, home)
    start = context.source.span(statement.relative[0] if statement.relative else statement.module or statement)[0]
    end = context.source.span(statement.module or statement.relative[-1])[1]
    written = dotted_name(statement.module)
    package = module[: len(module) - len(written)].rstrip(".")
    near = statement.relative and home.startswith(package + ".")
    context.replace_span(start, end, "." + home[len(package) + 1 :] if near else home)
    assert isinstance(statement.names, cst.ImportStar)
    context.replace(statement.names, ", ".join(names))


def _names(context: FileContext, uses: list[Use], exported: dict[str, Target], home: str) -> list[str]:
    """Rename the uses of tasks of one module and return what is imported for them and for ``__all__``."""
    names = {
        name if name == target.leaf else f"{target.leaf} as {name}"
        for name, target in exported.items()
        if target.unified_path.rpartition(".")[0] == home
    }
    for use in uses:
        if use.target.unified_path.rpartition(".")[0] != home:
            continue
        old, new = context.source.code(use.node), use.target.leaf
        if old in exported:
            continue
        if old != new and taken(context, new, use.target.unified_path):
            names.add(f"{new} as {old}")
        else:
            names.add(new)
            if old != new:
                context.replace(use.node, new)
    return sorted(names)


REWRITE = Rewrite(name="star_imports", whole_file=rewrite, last=True)
