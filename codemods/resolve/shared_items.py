"""What a container of another file holds, as the survey of the tree has found it: ``ALL["a"]``, ``for task in ALL``."""

from __future__ import annotations

import libcst as cst

from codemods.resolve.protocol import Resolver
from codemods.syntax.scopes import BindingKind

UNKNOWN = "?"
#: What gives the items of what it is called with.
SAME_ITEMS = frozenset(f"builtins.{name}" for name in ("list", "tuple", "set", "reversed", "sorted", "iter"))
_DEPTH = 12


def shared(values: Resolver, node: cst.BaseExpression, key: str = "", depth: int = 0) -> frozenset[str]:
    """Return the dotted paths that a container of another file may hold under a key; all of them without one."""
    if isinstance(node, cst.Call) and depth <= _DEPTH:
        if isinstance(node.func, cst.Attribute) and node.func.attr.value == "values":
            return shared(values, node.func.value, "", depth + 1)
        if len(node.args) == 1 and values.only(node.func) in SAME_ITEMS:
            return shared(values, node.args[0].value, "", depth + 1)
    path = path_of(values, node) if values.containers else ""
    return values.containers[path].paths(key) if path in values.containers else frozenset({UNKNOWN})


def path_of(values: Resolver, node: cst.BaseExpression, depth: int = 0) -> str:
    """Return the dotted path of a name that is imported, or given one that is; empty for anything else."""
    if isinstance(node, cst.Attribute):
        base = path_of(values, node.value, depth)
        return f"{base}.{node.attr.value}" if base else ""
    found = values.bindings(node) if isinstance(node, cst.Name) and depth <= _DEPTH else ()
    if len(found) == 1 and found[0].kind is BindingKind.IMPORT:
        return values.imported(found[0])
    if len(found) == 1 and found[0].kind is BindingKind.ASSIGN and found[0].value is not None:
        return path_of(values, found[0].value, depth + 1)
    return values.stars.get(node.value, "") if isinstance(node, cst.Name) and not found else ""


def literal_key(node: cst.Subscript) -> str:
    """Return the key or position of ``container["key"]`` as Python writes it; empty if it is computed."""
    index = node.slice[0].slice if len(node.slice) == 1 else None
    key = index.value if isinstance(index, cst.Index) else None
    if isinstance(key, cst.SimpleString):
        return repr(key.evaluated_value)
    return key.value if isinstance(key, cst.Integer) else ""
