"""How one legacy import changes: what it becomes, what stays, and how its uses are called then."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import libcst as cst

from codemods.editing.context import FileContext, LegacyImport, Use
from codemods.plan.plan_index import Target
from codemods.uses.delegation import check_stays, is_home
from codemods.uses.names import (
    exported_name,
    free_name,
    is_none,
    listed_in_all,
    offering_module,
    planned_name,
    used_names,
)


@dataclass(slots=True, kw_only=True)
class Change:
    """What becomes of one import alias."""

    item: LegacyImport
    #: True if the alias stays as it is.
    keep: bool
    #: ``module``, ``name`` and local name that replace it, or are added beside it; empty name: the module itself.
    become: list[tuple[str, str, str]] = field(default_factory=list)


def plan_changes(context: FileContext, imports: list[LegacyImport]) -> list[Change]:
    """Decide each import and rename its uses; edits of the uses are made here."""
    used = used_names(context)
    changes = []
    for item in imports:
        target = item.target(context.index)
        if target is not None:
            change = _task(context, item, target, used)
        elif context.index.resolve(item.dotted) in context.index.applications:
            change = _application(context, item)
        elif context.index.resolve(item.dotted) in context.index.modules:
            change = _module(context, item, used)
        else:
            change = _other(context, item, used)
        if change is not None:
            changes.append(change)
    return changes


def _task(context: FileContext, item: LegacyImport, target: Target, used: set[str]) -> Change | None:
    if target.retired:
        if not item.uses:
            context.leave(item.alias, "RETIRED-TASK", f"{target.name}: {target.reason}")
        return None
    if target.in_place:
        return None
    if is_home(context, target) and not item.uses:
        with context.attempt(item.alias):
            check_stays(context, target, item.alias)
        return None
    rewritten = [use for use in item.uses if use.rewritten]
    kept = [use for use in item.uses if not use.rewritten]
    module = offering_module(context, item)
    offered = exported_name(context, item)
    if kept and not rewritten:
        return None
    local = planned_name(context, item)
    if kept and (local == item.binding.name or item.alias.asname):
        local = free_name(context, offered, used)
    for use in rewritten:
        _rename_use(context, use, item, local)
    if not kept and local != item.binding.name:
        _rename_annotations(context, item, local)
        for other in item.binding.scope.bindings[item.binding.name]:
            if is_none(other):
                context.replace(other.node, local)
    if not kept and f"{module}.{offered}" == item.dotted:
        return None
    return Change(item=item, keep=bool(kept), become=[(module, offered, local)])


def _application(context: FileContext, item: LegacyImport) -> Change | None:
    module, _, name = context.index.unified_application.rpartition(".")
    if not module:
        context.leave(item.alias, "LEGACY-NAME", item.dotted)
        return None
    return Change(item=item, keep=False, become=[(module, name, item.binding.name)])


def _module(context: FileContext, item: LegacyImport, used: set[str]) -> Change | None:
    module = context.index.resolve(item.dotted)
    retiring = module in context.index.retired_modules
    uses = [use for use in item.uses if not use.target.in_place]
    if not uses and not item.others:
        return _side_effect(context, item, module) if retiring else None
    rewritten = [use for use in uses if use.rewritten]
    others = _other_names(context, item, used) if retiring else item.others
    homes = {_unified_module(use.target) for use in rewritten}
    whole = len(rewritten) == len(uses) and not others and len(homes) == 1
    if whole and not any(use.target.in_place for use in item.uses):
        home = homes.pop()
        if isinstance(item.statement, cst.Import):
            local = item.binding.name if item.alias.asname else ""
            base = local or home
        else:
            leaf = home.rpartition(".")[2]
            clash = leaf in used and leaf != item.binding.name and not _only_module(context, leaf, home)
            base = local = item.binding.name if item.alias.asname or clash else leaf
        for use in rewritten:
            if not use.removed:
                context.replace(use.node, f"{base}.{use.target.leaf}")
        return Change(item=item, keep=False, become=[(home, "", local)])
    become = []
    for target in dict.fromkeys(use.target for use in rewritten):
        local = free_name(context, target.leaf, used) if not _imported(context, target) else target.leaf
        become.append((_unified_module(target), target.leaf, local))
        for use in rewritten:
            if use.target == target and not use.removed:
                context.replace(use.node, local)
    return Change(item=item, keep=len(rewritten) < len(item.uses) or bool(others), become=become) if become else None


def _other_names(context: FileContext, item: LegacyImport, used: set[str]) -> list[cst.BaseExpression]:
    """List what a removed module is used for besides tasks; the Celery application is replaced by its successor."""
    left = []
    for node in item.others:
        here: cst.CSTNode = node
        parent = context.parent(here)
        path = context.values.only(parent) if isinstance(parent, cst.Attribute) else ""
        top = parent if path else node
        assert top is not None
        context.leave(top, "LEGACY-NAME" if path else "MODULE-DYNAMIC", path or item.dotted)
        left.append(node)
    return left


def _other(context: FileContext, item: LegacyImport, used: set[str]) -> Change | None:
    """Change the import of a package above a legacy module, or of a name in one that is no task."""
    head = context.index.resolve(item.dotted).rpartition(".")[0]
    if head in context.index.retired_modules:
        context.leave(item.alias, "LEGACY-NAME", item.dotted)
        return None
    rewritten = [use for use in item.uses if use.rewritten and not use.target.in_place]
    become = []
    for use in rewritten:
        home = _unified_module(use.target)
        if isinstance(item.statement, cst.Import) and not item.alias.asname:
            context.replace(use.node, f"{home}.{use.target.leaf}")
            become.append((home, "", ""))
        else:
            local = use.target.leaf if _imported(context, use.target) else free_name(context, use.target.leaf, used)
            context.replace(use.node, local)
            become.append((home, use.target.leaf, local))
    return Change(item=item, keep=True, become=list(dict.fromkeys(become))) if become else None


def _side_effect(context: FileContext, item: LegacyImport, module: str) -> Change | None:
    """Change an import that is there for its effect: registering tasks."""
    homes = {
        _unified_module(t) for t in context.index.targets.values() if t.path.rpartition(".")[0] == module and t.unified
    }
    if len(homes) != 1 or context.values.where.module in homes:
        context.leave(item.alias, "NO-TASK-LEFT", item.dotted)
        return None
    home = homes.pop()
    name = home.rpartition(".")[2]
    kept = item.alias.asname or item.binding.name in listed_in_all(context)
    local = item.binding.name if kept else "" if isinstance(item.statement, cst.Import) else name
    return Change(item=item, keep=False, become=[(home, "", local)])


def _rename_use(context: FileContext, use: Use, item: LegacyImport, local: str) -> None:
    if isinstance(use.node, cst.Name) and use.node.value != local and not use.removed:
        context.replace(use.node, local)


def _rename_annotations(context: FileContext, item: LegacyImport, local: str) -> None:
    """Rename a task in annotations that are strings."""
    old = item.binding.name
    for node, scope in context.tree.annotations:
        if old in node.value and item.binding in scope.lookup(old):
            context.replace(node, re.sub(rf"(?<![\w.]){re.escape(old)}(?!\w)", local, node.value))


def _only_module(context: FileContext, name: str, home: str) -> bool:
    """True if every import of ``name`` in the file is a legacy or the unified module itself."""
    found = context.tree.bindings_of(name)
    return all(b.statement is not None and context.values.imported(b) == home for b in found)


def _imported(context: FileContext, target: Target) -> bool:
    found = context.tree.bindings_of(target.leaf)
    return bool(found) and all(
        b.statement is not None and context.values.imported(b) == target.unified_path for b in found
    )


def _unified_module(target: Target) -> str:
    return target.unified_path.rpartition(".")[0]
