"""Imports of Dramatiq itself: those of replaced parts are removed, their successors are imported, the rest is listed.

Source: ``dramatiq/__init__.py`` (what the package offers).
"""

from __future__ import annotations

import libcst as cst

from codemods.calls.actor_calls import partials
from codemods.calls.sister_imports import list_sisters
from codemods.calls.task_support import write_support
from codemods.editing.context import FileContext
from codemods.editing.new_imports import add_imports
from codemods.editing.sequences import remove_items
from codemods.editing.statements import remove_statement
from codemods.plan.policy import ACTORS, COVERED
from codemods.protocol import Rewrite
from codemods.resolve.shared_items import UNKNOWN
from codemods.rewrites.raised_retries import RETRIES
from migrator.wire.message import System

#: Reason codes that a line has once; other rewrites say more about the first two.
_ONCE = frozenset({"RAISED-RETRY", "CURRENT-MESSAGE", "LEGACY-CODE", "DRAMATIQ-SETUP"})
#: What only sets up a broker.
_SETUP = (
    *("dramatiq.set_broker", "dramatiq.broker.set_broker", "dramatiq.brokers.", "dramatiq.set_encoder"),
    "dramatiq.results.backends.",
)
#: Encoders that can write more than JSON has.
ENCODERS = frozenset({"PickleEncoder"})
#: Libraries that are only needed for legacy actors.
LIBRARIES = ("dramatiq", "periodiq", "dramatiq_crontab", "django_dramatiq", "dramatiq_abort")


def rewrite(context: FileContext) -> None:
    """Replace the imports of a file and list what is left of Dramatiq in it."""
    write_support(context)
    _remove_partials(context)
    replaced = set(context.result.replaced)
    gone: list[cst.ImportAlias] = []
    for statement in context.tree.imports:
        if isinstance(statement, cst.ImportFrom) and isinstance(statement.names, cst.ImportStar):
            continue
        scope = context.tree.scopes[statement]
        for alias in statement.names:  # type: ignore[union-attr]
            name = alias.evaluated_alias or alias.evaluated_name.split(".")[0]
            binding = next((b for b in scope.bindings.get(name, ()) if b.node is alias), None)
            path = context.values.imported(binding) if binding else ""
            if path.partition(".")[0] not in (*LIBRARIES, "functools"):
                continue
            reads = context.tree.reads_of(alias)
            open_reads = [n for n in reads if not _within(context, n, replaced)]
            unused = not reads
            if path.startswith("functools") and (unused or open_reads):
                continue
            idle = unused and bool(context.result.edits) and not context.values.where.is_package
            if (idle or (replaced and not unused)) and not open_reads:
                gone.append(alias)
            elif context.index.list_dramatiq:
                _list(context, alias, path, open_reads)
    for statement in context.tree.imports:
        if isinstance(statement, cst.ImportFrom) and isinstance(statement.names, cst.ImportStar):
            continue
        removed = [alias for alias in statement.names if alias in gone]  # type: ignore[union-attr]
        if removed and len(removed) == len(statement.names):  # type: ignore[arg-type]
            new = add_imports(context, statement, instead=True)
            if not new:
                remove_statement(context, statement)
        elif removed:
            remove_items(context, statement.names, removed)  # type: ignore[arg-type]
    add_imports(context, None, instead=False)
    list_sisters(context, LIBRARIES)


def _remove_partials(context: FileContext) -> None:
    """Remove ``partial(dramatiq.actor, …)`` where every actor that it made was converted."""
    for binding in partials(context):
        open_reads = [n for n in context.tree.reads_of(binding.node) if n not in context.result.replaced]
        path = f"{context.values.where.module}.{binding.name}"
        statement = context.parent(context.parent(binding.node) or binding.node)
        if open_reads or path in context.index.shared or not isinstance(statement, cst.Assign):
            continue
        assert isinstance(binding.value, cst.Call)
        context.result.replaced += [binding.value.args[0].value, binding.value.func]
        remove_statement(context, statement)


def _within(context: FileContext, name: cst.Name, replaced: set[cst.BaseExpression]) -> bool:
    """True if a read is part of an expression that another name replaced."""
    here: cst.CSTNode | None = name
    while isinstance(here, (cst.Name, cst.Attribute)):
        if here in replaced:
            return True
        here = context.parent(here)
    return False


def _list(context: FileContext, alias: cst.ImportAlias, path: str, reads: list[cst.Name]) -> None:
    """List a use of Dramatiq that stays."""
    if not reads:
        context.leave(alias, "DRAMATIQ-USE", path)
    for name in reads:
        node: cst.BaseExpression = name
        parent = context.parent(node)
        while isinstance(parent, cst.Attribute) and parent.value is node:
            node, parent = parent, context.parent(parent)
        full = context.values.only(node)
        code = _code(full or path)
        if (code == "DRAMATIQ-SETUP" and _legacy_runs(context)) or _is_legacy_definition(context, node):
            code = "LEGACY-CODE"
        if code == "MIDDLEWARE" and not path.endswith(".Middleware") and _others_need(context):
            continue
        if code in _ONCE and any(
            left.code == code and left.line == context.source.line(node) for left in context.result.leftovers
        ):
            continue  # listed already, with the reason if there is one
        context.leave(node, code, full if full and UNKNOWN not in full else path)


def _legacy_runs(context: FileContext) -> bool:
    """Tell whether actors are in the tree as long as the legacy workers run."""
    actors = [t for t in context.index.targets.values() if t.system is System.DRAMATIQ]
    return context.index.keeps(System.DRAMATIQ) or any(not t.in_place or t.stuck for t in actors)


def _is_legacy_definition(context: FileContext, node: cst.BaseExpression) -> bool:
    """Tell whether an expression makes an actor that another task replaces."""
    if context.values.only(node) not in ACTORS:
        return False
    here: cst.CSTNode | None = node
    while here is not None and not isinstance(here, (cst.FunctionDef, cst.Assign)):
        here = context.parent(here)
    name = here.name if isinstance(here, cst.FunctionDef) else here.targets[0].target if here is not None else None
    target = context.index.targets.get(f"{context.values.where.module}.{getattr(name, 'value', '')}")
    return target is not None and not target.in_place


def _others_need(context: FileContext) -> bool:
    """True for uses by actors that stay; converted ones lose a middleware of the project's own all the same."""
    return not context.index.is_about(context.values.where.module, dramatiq=True)


def _code(path: str) -> str:
    if path in RETRIES:
        return "RAISED-RETRY"
    if "CurrentMessage.get" in path:
        return "CURRENT-MESSAGE"
    leaf = path.rpartition(".")[2]
    if leaf in ENCODERS:
        return "ENCODER"
    if path.startswith(_SETUP) or (leaf in COVERED and ("iddleware" in path or path == "dramatiq.results.Results")):
        return "DRAMATIQ-SETUP"
    return "MIDDLEWARE" if "iddleware" in path else "DRAMATIQ-USE"


REWRITE = Rewrite(name="dramatiq_imports", whole_file=rewrite, last=True)
