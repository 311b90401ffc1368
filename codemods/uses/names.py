"""Local names: what an imported task is called in a file after the rewrite."""

from __future__ import annotations

import libcst as cst

from codemods.editing.context import FileContext, LegacyImport
from codemods.resolve.name_resolution import text_of
from codemods.syntax.scopes import Binding, BindingKind

#: New name of a re-export by a star import: readers name the unified module instead.
STAR = "*"


def planned_name(context: FileContext, item: LegacyImport) -> str:
    """Return the local name of an imported task after the rewrite: its alias, the unified name, or the old one.

    The old name stays where the file gives it a value elsewhere or uses the unified name for something else.
    """
    target = item.target(context.index)
    old = item.binding.name
    if target is None or target.retired or target.in_place or item.alias.asname:
        return old
    new = exported_name(context, item)
    if new == old or not _all_imports(context, item.binding) or taken(context, new, target.unified_path):
        return old
    return new


def exported_name(context: FileContext, item: LegacyImport) -> str:
    """Return the name under which the (new) module offers the task."""
    target = item.target(context.index)
    assert target is not None
    if item.dotted == target.path or context.index.renames.get(item.dotted) == STAR:
        return target.leaf
    return context.index.renames.get(item.dotted, item.dotted.rpartition(".")[2])


def offering_module(context: FileContext, item: LegacyImport) -> str:
    """Return the module from which the task is imported after the rewrite."""
    target = item.target(context.index)
    assert target is not None
    if item.dotted == target.path or context.index.renames.get(item.dotted) == STAR:
        return target.unified_path.rpartition(".")[0]
    return item.dotted.rpartition(".")[0]


def listed_in_all(context: FileContext) -> set[str]:
    """Return the names in the module's ``__all__``, as far as they are written out."""
    found = set()
    for node in context.tree.assignments:
        targets = [t.target for t in node.targets] if isinstance(node, cst.Assign) else [node.target]
        if any(isinstance(target, cst.Name) and target.value == "__all__" for target in targets) and node.value:
            found |= {text_of(item) or "" for item in context.values.items(node.value)}
    return found


def taken(context: FileContext, name: str, unified_path: str) -> bool:
    """Tell whether a file uses ``name`` for anything but the unified task."""
    for binding in context.tree.bindings_of(name):
        if isinstance(binding.scope.node, cst.ClassDef):
            continue  # a name of a class body hides nothing inside its methods
        if not _means(context, binding, unified_path):
            return True
    return False


def _means(context: FileContext, binding: Binding, unified_path: str) -> bool:
    if binding.kind is not BindingKind.IMPORT:
        return False
    dotted = context.values.imported(binding)
    target = context.index.target(dotted)
    return dotted == unified_path or (target is not None and target.unified_path == unified_path)


def _all_imports(context: FileContext, binding: Binding) -> bool:
    """True if every value of the name in its scope is the same task, imported, or ``None``."""
    targets = set()
    for other in binding.scope.bindings.get(binding.name, ()):
        if other.kind is BindingKind.IMPORT:
            targets.add(context.index.target(context.values.imported(other)))
        elif not is_none(other):
            return False
    return len(targets) == 1 and binding.name not in context.tree.declared()


def is_none(binding: Binding) -> bool:
    """True for ``name = None``."""
    value = binding.value
    plain = binding.kind is BindingKind.ASSIGN and isinstance(binding.node, cst.Name)
    return plain and isinstance(value, cst.Name) and value.value == "None"


def used_names(context: FileContext) -> set[str]:
    """Return every name that the file binds or reads."""
    names = {node.value for node in context.tree.scopes if isinstance(node, cst.Name)}
    for scope in context.tree.all_scopes():
        names.update(scope.bindings)
    return names


def free_name(context: FileContext, wanted: str, used: set[str]) -> str:
    """Return ``wanted``, or ``unified_wanted``, or that with a number."""
    name, count = wanted, 1
    while name in used:
        name = f"unified_{wanted}" if count == 1 else f"unified_{wanted}_{count}"
        count += 1
    used.add(name)
    return name
