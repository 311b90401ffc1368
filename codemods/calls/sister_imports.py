"""What a file takes from packages that need Dramatiq, by import or by a dotted path in a string."""

from __future__ import annotations

import re

import libcst as cst

from codemods.editing.context import FileContext
from codemods.plan.sister_packages import LEGACY, instead, needs_dramatiq
from codemods.resolve.name_resolution import text_of

#: A path into a package; those into Dramatiq itself may be names of its loggers.
_DOTTED = re.compile(r"(?!dramatiq\.)[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")


def list_sisters(context: FileContext, treated: tuple[str, ...]) -> None:
    """List the imports and paths of such packages.

    Args:
        context: The file's.
        treated: Packages whose imports are listed or replaced with more knowledge.
    """
    for statement in context.tree.imports:
        if isinstance(statement, cst.ImportFrom) and statement.relative:
            continue
        base = context.values.base(statement) if isinstance(statement, cst.ImportFrom) else ""
        star = isinstance(statement.names, cst.ImportStar)
        names = [""] if star else [alias.evaluated_name for alias in statement.names]  # type: ignore[union-attr]
        for name in names:
            path = f"{base}.{name}".strip(".")
            if path.partition(".")[0] not in treated or star:
                _leave(context, statement, path)
    for node in context.tree.strings:
        text = text_of(node) or ""
        if text.partition(".")[0] == LEGACY and _is_logger(context, node):
            context.leave(node, "DRAMATIQ-SETTING", f"the logger {text}")
        listed = {left.line for left in context.result.leftovers}
        if _DOTTED.fullmatch(text) and not _is_setting(context, node) and context.source.line(node) not in listed:
            _leave(context, node, text)


def _is_logger(context: FileContext, node: cst.CSTNode) -> bool:
    """True for a key in ``LOGGING``."""
    here, holder = node, context.parent(node)
    if not isinstance(holder, cst.DictElement) or holder.key is not node:
        return False
    while here is not None and not isinstance(here, cst.Assign):
        here = context.parent(here)  # type: ignore[assignment]
    targets = [t.target for t in here.targets] if isinstance(here, cst.Assign) else []
    return any(isinstance(target, cst.Name) and target.value == "LOGGING" for target in targets)


def _leave(context: FileContext, node: cst.CSTNode, path: str) -> None:
    top = path.partition(".")[0]
    own = any((context.index.root / name).exists() for name in (top, f"{top}.py"))
    if not own and context.index.list_dramatiq and needs_dramatiq(path, context.index.needing_dramatiq):
        context.leave(node, "DRAMATIQ-PACKAGE", instead(path))


def _is_setting(context: FileContext, node: cst.CSTNode) -> bool:
    """True inside the value of a setting of Dramatiq's own, which is listed as such, and for what is edited."""
    here: cst.CSTNode | None = node
    while here is not None and not isinstance(here, cst.Assign):
        here = context.parent(here)
    targets = [t.target for t in here.targets] if isinstance(here, cst.Assign) else []
    names = [target.value for target in targets if isinstance(target, cst.Name)]
    return any(name.startswith("DRAMATIQ_") for name in names) or context.result.edits.covers(context.source.span(node))
