"""Which texts an expression may be: literals, constants of this file and of others, members of enumerations, settings.

Source: https://docs.python.org/3/library/enum.html (``value``), ``django/conf/__init__.py`` (``settings``).
"""

from __future__ import annotations

import ast
from pathlib import Path

import libcst as cst

from codemods.resolve.name_resolution import Values, text_of
from codemods.resolve.shared_items import UNKNOWN
from codemods.syntax.scopes import BindingKind
from migrator.inventory.callables import Load, loading
from migrator.inventory.module_facts import ModuleFacts

_SETTINGS = "django.conf.settings."
_DEPTH = 8
_NONE: frozenset[str] = frozenset()


def texts_of(values: Values, node: cst.BaseExpression, root: Path, settings: str) -> frozenset[str]:
    """Return every text that an expression may be; nothing if one of them isn't known.

    Args:
        values: Of the file.
        node: The expression.
        root: Import root.
        settings: The settings module; empty if there is none.
    """
    return _texts(values, node, loading(root, {}), settings, 0)


def _texts(values: Values, node: cst.BaseExpression, load: Load, settings: str, depth: int) -> frozenset[str]:
    text = text_of(node)
    if text is not None:
        return frozenset({text})
    parts: list[cst.BaseExpression] = []
    if depth > _DEPTH:
        return _NONE
    if isinstance(node, cst.IfExp):
        parts = [node.body, node.orelse]
    elif isinstance(node, cst.BooleanOperation) and isinstance(node.operator, cst.Or):
        parts = [node.left, node.right]
    elif isinstance(node, cst.Name) and all(b.kind is BindingKind.ASSIGN for b in values.bindings(node)):
        parts = [binding.value for binding in values.bindings(node) if binding.value is not None]
    if parts:
        return _all([_texts(values, part, load, settings, depth + 1) for part in parts])
    path = values.only(node) if isinstance(node, (cst.Name, cst.Attribute)) else ""
    if path.startswith(_SETTINGS) and settings:
        path = f"{settings}.{path.removeprefix(_SETTINGS)}"
    return _constant(load, path, depth) if path and path != UNKNOWN else _NONE


def _all(parts: list[frozenset[str]]) -> frozenset[str]:
    return frozenset(text for part in parts for text in part) if all(parts) else _NONE


def _constant(load: Load, path: str, depth: int) -> frozenset[str]:
    """Return what a constant of a module may be, or one of a class in it."""
    parts = path.removesuffix(".value").split(".")
    for length in (len(parts) - 1, len(parts) - 2):
        facts = load(".".join(parts[:length])) if length > 0 else None
        if facts is None:
            continue
        name, *inner = parts[length:]
        if name in facts.bindings and facts.bindings[name] != f"{facts.name}.{name}":
            return _constant(load, ".".join([facts.bindings[name], *inner]), depth + 1) if depth < _DEPTH else _NONE
        value = _member(facts, name, inner[0]) if inner else facts.values.get(name)
        return _read(facts, value, load, depth + 1)
    return _NONE


def _member(facts: ModuleFacts, owner: str, name: str) -> ast.expr | None:
    for node in facts.tree.body:
        if isinstance(node, ast.ClassDef) and node.name == owner:
            for item in node.body:
                targets = item.targets if isinstance(item, ast.Assign) else []
                targets = [item.target] if isinstance(item, ast.AnnAssign) else targets
                if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                    return item.value  # type: ignore[attr-defined,no-any-return]
    return None


def _read(facts: ModuleFacts, node: ast.expr | None, load: Load, depth: int) -> frozenset[str]:
    if isinstance(node, ast.Constant):
        return frozenset({node.value}) if isinstance(node.value, str) else _NONE
    if isinstance(node, ast.IfExp):
        return _all([_read(facts, part, load, depth) for part in (node.body, node.orelse)])
    if isinstance(node, (ast.Name, ast.Attribute)) and depth < _DEPTH:
        return _constant(load, facts.dotted(node), depth)
    return _NONE
