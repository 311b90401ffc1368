"""What an unpacked name may hold: ``for name, task in TASKS.items()``, ``for task, args in PAIRS``, ``a, b = TASKS``.

Source: https://docs.python.org/3/reference/simple_stmts.html#assignment-statements
"""

from __future__ import annotations

import libcst as cst

from codemods.resolve.protocol import Resolver


def unpacked(values: Resolver, name: cst.CSTNode) -> list[cst.BaseExpression]:
    """Return the expressions that a name in a tuple of targets may be given; empty if unknown."""
    parents = values.tree.parents
    element = parents.get(name)
    pair = parents.get(element) if isinstance(element, cst.Element) else None
    if not isinstance(pair, (cst.Tuple, cst.List)) or not isinstance(element, cst.Element):
        return []
    if any(isinstance(item, cst.StarredElement) for item in pair.elements):
        return []
    position, holder = list(pair.elements).index(element), parents.get(pair)
    if isinstance(holder, (cst.For, cst.CompFor)) and holder.target is pair:
        return _column(values, holder.iter, position)
    statement = parents.get(holder) if isinstance(holder, cst.AssignTarget) else None
    if isinstance(statement, cst.Assign):
        items = values.items(statement.value)
        return [items[position]] if len(items) == len(pair.elements) else []
    return []


def _column(values: Resolver, iterated: cst.BaseExpression, position: int) -> list[cst.BaseExpression]:
    """Return what stands at one position of everything that is iterated over."""
    if isinstance(iterated, cst.Call) and position == 1:
        if isinstance(iterated.func, cst.Attribute) and iterated.func.attr.value == "items":
            return values.items(iterated.func.value)
        if values.only(iterated.func) == "builtins.enumerate" and iterated.args:
            return values.items(iterated.args[0].value)
    found = []
    for row in values.items(iterated):
        cells = values.items(row) if isinstance(row, (cst.Tuple, cst.List)) else []
        if position >= len(cells):
            return []
        found.append(cells[position])
    return found


def unpacked_from(values: Resolver, name: cst.CSTNode) -> cst.BaseExpression | None:
    """Return the container whose items the second of two loop targets takes, by ``.items()`` or ``enumerate``."""
    parents = values.tree.parents
    element = parents.get(name)
    pair = parents.get(element) if isinstance(element, cst.Element) else None
    holder = parents.get(pair) if isinstance(pair, (cst.Tuple, cst.List)) else None
    if not isinstance(holder, (cst.For, cst.CompFor)) or not isinstance(holder.iter, cst.Call):
        return None
    if not isinstance(pair, (cst.Tuple, cst.List)) or holder.target is not pair or pair.elements[-1] is not element:
        return None
    call = holder.iter
    if isinstance(call.func, cst.Attribute) and call.func.attr.value == "items":
        return call.func.value
    enumerated = len(call.args) == 1 and values.only(call.func) == "builtins.enumerate"
    return call.args[0].value if enumerated else None
