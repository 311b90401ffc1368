"""String literals: replaced with their prefix and quotes kept."""

from __future__ import annotations

import libcst as cst

from codemods.editing.context import FileContext
from codemods.resolve.name_resolution import enclosing, text_of


def replace_string(context: FileContext, node: cst.SimpleString, value: str) -> None:
    """Write another value into a plain string literal; a no-op if it is the same."""
    if text_of(node) != value:
        start, end = context.source.bare_span(node)
        opening = len(node.prefix) + len(node.quote)
        context.replace_span(start + opening, end - len(node.quote), value)


def strings_of(context: FileContext, node: cst.BaseExpression) -> list[cst.SimpleString]:
    """Return the string literals that an expression may be: itself, or those of a constant, dict, list or choice."""
    if isinstance(node, cst.SimpleString):
        return [node]
    if isinstance(node, cst.IfExp):
        return strings_of(context, node.body) + strings_of(context, node.orelse)
    if isinstance(node, cst.Subscript):
        return [item for item in context.values.items(node.value) if isinstance(item, cst.SimpleString)]
    if isinstance(node, cst.Name):
        found: list[cst.SimpleString] = []
        for binding in context.values.bindings(node):
            if binding.value is None:
                continue
            if isinstance(binding.value, cst.SimpleString):
                found.append(binding.value)
            else:
                found += [item for item in context.values.items(binding.value) if isinstance(item, cst.SimpleString)]
        return found
    return []


def argument(call: cst.Call, position: int, name: str) -> cst.Arg | None:
    """Return an argument by keyword or position, or None."""
    for arg in call.args:
        if arg.keyword is not None and arg.keyword.value == name:
            return arg
    plain = [arg for arg in call.args if arg.keyword is None and not arg.star]
    return plain[position] if position < len(plain) and not any(arg.star for arg in call.args[: position + 1]) else None


def is_docstring(context: FileContext, node: cst.CSTNode) -> bool:
    """Tell whether a string is a statement of its own."""
    return isinstance(context.parent(node), cst.Expr)


def inside(context: FileContext, node: cst.CSTNode, kind: type[cst.CSTNode]) -> cst.CSTNode | None:
    """Return the nearest node of a kind around ``node``, or None."""
    return enclosing(context.tree, node, kind)
