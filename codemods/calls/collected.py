"""Values of sends that are collected in a sequence: what is read of each of them later.

``messages = [actor.send(x) for x in xs]`` and ``messages.append(actor.send(x))``, then a loop, a comprehension or a
subscript.
"""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from codemods.editing.context import FileContext, LeaveError

COMPREHENSIONS = (cst.ListComp, cst.SetComp, cst.GeneratorExp)
_ESCAPES = (cst.Arg, cst.Element, cst.DictElement, cst.Return, cst.Yield, cst.StarredElement)
#: Functions that hand the same values on, and those that read none of them.
_SAME = frozenset({"list", "tuple", "set", "reversed", "iter"})
_READ_NOTHING = frozenset({"len", "bool"})


def collected(context: FileContext, value: cst.BaseExpression) -> Iterator[cst.Attribute]:
    """Yield the attributes that are read of a value which stands in a sequence; list it where it can't be followed.

    Raises:
        LeaveError: The sequence holds something else too.
    """
    holder = _holder(context, value)
    parent = context.parent(holder)
    while isinstance(parent, cst.Arg) and _called(context, parent) in _SAME:
        call = context.parent(parent)
        assert isinstance(call, cst.Call)
        holder, parent = call, context.parent(call)
    added = _added_to(context, parent) if isinstance(parent, cst.Arg) and holder is value else None
    if added is not None:
        yield from _of_name(context, added)
    elif isinstance(parent, cst.Assign) and holder is not value and len(parent.targets) == 1:
        yield from _of_name(context, parent.targets[0].target)
    elif isinstance(parent, (cst.For, cst.CompFor)):
        yield from _of_items(context, parent.target)
    elif not isinstance(parent, cst.Expr):
        context.leave(value, "RESULT-ESCAPES")


def _holder(context: FileContext, value: cst.BaseExpression) -> cst.BaseExpression:
    """Return the sequence that a value is an item of as it is written; the value itself if there is none."""
    parent = context.parent(value)
    if isinstance(parent, COMPREHENSIONS) and parent.elt is value:
        return parent
    literal = context.parent(parent) if isinstance(parent, cst.Element) else None
    return literal if isinstance(literal, (cst.List, cst.Tuple, cst.Set)) else value


def _called(context: FileContext, arg: cst.Arg) -> str:
    call = context.parent(arg)
    path = context.values.only(call.func) if isinstance(call, cst.Call) and len(call.args) == 1 else ""
    return path.removeprefix("builtins.") if path.startswith("builtins.") else ""


def _added_to(context: FileContext, arg: cst.Arg) -> cst.CSTNode | None:
    """Return the name in ``name.append(value)`` as it was bound, if only values of sends are added to it.

    Raises:
        LeaveError: Something else is added to it as well.
    """
    call = context.parent(arg)
    method = call.func if isinstance(call, cst.Call) else None
    if not isinstance(method, cst.Attribute) or method.attr.value not in {"append", "add"}:
        return None
    found = context.values.bindings(method.value) if isinstance(method.value, cst.Name) else ()
    if len(found) != 1 or found[0].value is None:
        return None
    for read in context.tree.reads_of(found[0].node):
        other = context.parent(context.parent(read) or read)
        attribute = context.parent(read)
        if isinstance(attribute, cst.Attribute) and attribute.attr.value in {"append", "add", "extend", "insert"}:
            values = [item.value for item in other.args] if isinstance(other, cst.Call) else []
            if len(values) != 1 or context.uses.of_call(values[0]) is None:
                raise LeaveError("MESSAGE-ATTRIBUTE", read, "holds the value of a send, and other values")
    return found[0].node


def _of_name(context: FileContext, name: cst.CSTNode) -> Iterator[cst.Attribute]:
    """Yield what is read of the items of a sequence with a name."""
    for read in context.tree.reads_of(name):
        parent = context.parent(read)
        while isinstance(parent, cst.Arg) and _called(context, parent) in _SAME:
            parent = context.parent(context.parent(parent) or parent)
        if isinstance(parent, (cst.For, cst.CompFor)):
            yield from _of_items(context, parent.target)
        elif isinstance(parent, cst.Subscript) and parent.value is read:
            attribute = context.parent(parent)
            if isinstance(attribute, cst.Attribute) and attribute.value is parent:
                yield attribute
        elif isinstance(parent, _ESCAPES) and not (
            isinstance(parent, cst.Arg) and _called(context, parent) in _READ_NOTHING
        ):
            context.leave(read, "RESULT-ESCAPES")


def _of_items(context: FileContext, target: cst.BaseExpression) -> Iterator[cst.Attribute]:
    if not isinstance(target, cst.Name):
        context.leave(target, "RESULT-ESCAPES")
        return
    for read in context.tree.reads_of(target):
        parent = context.parent(read)
        if isinstance(parent, cst.Attribute) and parent.value is read:
            yield parent
        elif isinstance(parent, _ESCAPES):
            context.leave(read, "RESULT-ESCAPES")
