"""Whether every use of a task that is neither called nor sent where it is named can be followed.

It can if the task is only inspected, compared, or kept in a variable, a container or an attribute whose every reader in
the file is known; anything else escapes.
"""

from __future__ import annotations

import libcst as cst

from codemods.editing.context import FileContext, LeaveError
from codemods.editing.literals import replace_string
from codemods.resolve.name_resolution import enclosing, text_of
from codemods.resolve.shared_items import UNKNOWN
from codemods.resolve.unpacking import unpacked
from migrator.wire.message import System

_INSPECTING = frozenset(
    f"builtins.{name}" for name in ("isinstance", "print", "repr", "str", "type", "id", "callable", "len")
)
#: What may be called on an actor that was handed on.
METHODS = frozenset({"send", "send_with_options", "message", "message_with_options", "fn", "delay", "apply_async"})
CONTAINERS = (cst.Element, cst.DictElement, cst.Tuple, cst.List, cst.Set, cst.Dict, cst.IfExp)


def followed(context: FileContext, node: cst.CSTNode) -> bool:
    """True where the value is only inspected, or where what holds it is followed by the rewrites."""
    parent = context.parent(node)
    while isinstance(parent, CONTAINERS):
        node, parent = parent, context.parent(parent)
    if isinstance(parent, (cst.Comparison, cst.ComparisonTarget, cst.Assert, cst.Expr, cst.Annotation, cst.Del)):
        return True
    if enclosing(context.tree, node, cst.Annotation) is not None:
        return True
    if isinstance(parent, cst.Arg):
        call = context.parent(parent)
        if not isinstance(call, cst.Call):
            return False
        if context.values.only(call.func) in {"builtins.getattr", "builtins.hasattr"}:
            return _by_name(context, call)
        if context.values.only(call.func) in _INSPECTING | {"unittest.mock.patch.object"}:
            return True
        if context.source.code(call.func) in {"mocker.spy", "monkeypatch.setattr"}:
            return call.args[0] is parent
        return isinstance(call.func, cst.Attribute) and call.func.attr.value in {"assertIs", "assertIsNot", "object"}
    if isinstance(parent, (cst.For, cst.CompFor)):
        return parent.iter is node
    if isinstance(parent, (cst.Subscript, cst.Attribute)):
        return parent.value is node
    if isinstance(parent, (cst.Assign, cst.AnnAssign, cst.NamedExpr)):
        return _stays_here(context, parent)
    return False


def _by_name(context: FileContext, call: cst.Call) -> bool:
    """``getattr(actor, "send")``: the method's name follows, if no argument changes; False if that isn't known."""
    named = call.args[1].value if len(call.args) > 1 else None
    use = context.uses.of_node(call.args[0].value)
    if use is None or not isinstance(named, cst.SimpleString):
        return False
    if use.target.system is System.CELERY or use.target.converted:
        return not use.target.operations
    if text_of(named) != "send" or use.target.operations:
        return False
    replace_string(context, named, "delay")
    return True


def _stays_here(context: FileContext, node: cst.Assign | cst.AnnAssign | cst.NamedExpr) -> bool:
    """True if every read of the assigned name is an attribute, call, item or loop that the rewrites follow."""
    targets = [t.target for t in node.targets] if isinstance(node, cst.Assign) else [node.target]
    if len(targets) != 1:
        return False
    target = targets[0]
    owner = enclosing(context.tree, node, cst.ClassDef)
    if isinstance(target, cst.Attribute):
        mine = isinstance(target.value, cst.Name) and target.value.value in {"self", "cls"}
        return owner is not None and mine and _read_as_attribute(context, target.attr.value)
    if not isinstance(target, cst.Name):
        return False
    if owner is not None and enclosing(context.tree, node, cst.FunctionDef, stop=owner) is None:
        return _read_as_attribute(context, target.value)
    return all(_is_followed(context, load) for load in context.tree.reads_of(target))


def _is_followed(context: FileContext, load: cst.BaseExpression) -> bool:
    """True if what is done with a task, or with something that holds tasks, is seen by the rewrites."""
    parent = context.parent(load)
    if isinstance(parent, cst.Call):
        return parent.func is load and UNKNOWN not in context.values.dotted(load)
    if isinstance(parent, cst.Subscript):
        return parent.value is load and UNKNOWN not in context.values.dotted(parent)
    if isinstance(parent, cst.Attribute):
        return _method(context, parent)
    if isinstance(parent, cst.Arg):
        call = context.parent(parent)
        looked = isinstance(call, cst.Call) and context.values.only(call.func) in _INSPECTING
        return looked or (isinstance(call, cst.Call) and _looped(context, call))
    return isinstance(parent, (cst.Comparison, cst.ComparisonTarget)) or _looped(context, load)


def _method(context: FileContext, node: cst.Attribute) -> bool:
    """True for a method of a task, and for one of a container whose value is followed."""
    call = context.parent(node)
    if node.attr.value in {"items", "values"} and isinstance(call, cst.Call):
        return _looped(context, call)
    if node.attr.value == "get" and isinstance(call, cst.Call):
        return UNKNOWN not in context.values.dotted(call)
    return True


def _looped(context: FileContext, node: cst.BaseExpression) -> bool:
    """True for what is iterated over, or unpacked, into names that are known."""
    parent = context.parent(node)
    target: cst.BaseExpression
    if isinstance(parent, (cst.For, cst.CompFor)) and parent.iter is node:
        target = parent.target
    elif isinstance(parent, cst.Assign) and len(parent.targets) == 1:
        target = parent.targets[0].target
    else:
        return False
    if isinstance(target, cst.Name):
        return isinstance(parent, (cst.For, cst.CompFor)) and bool(context.values.items(node))
    elements = target.elements if isinstance(target, (cst.Tuple, cst.List)) else ()
    return any(isinstance(element.value, cst.Name) and unpacked(context.values, element.value) for element in elements)


def sent_from_result(context: FileContext, node: cst.CSTNode) -> cst.Attribute | None:
    """Return where the result of the function that returns ``node`` is sent in this file; None if nowhere."""
    function = enclosing(context.tree, node, cst.FunctionDef)
    for attribute in context.tree.attributes:
        if function is None or context.uses.of_attribute(attribute) or attribute.attr.value not in METHODS:
            continue
        made = [attribute.value]
        if isinstance(attribute.value, cst.Name):
            made += [b.value for b in context.values.bindings(attribute.value) if b.value is not None]
        for value in made:
            leaf = value.func if isinstance(value, cst.Call) else None
            name = leaf.attr.value if isinstance(leaf, cst.Attribute) else getattr(leaf, "value", "")
            if isinstance(function, cst.FunctionDef) and name == function.name.value:
                return attribute
    return None


def shown_to_others(context: FileContext, node: cst.CSTNode) -> bool:
    """True for an item of a public container at the top of a module: other files may send what it holds."""
    here, parent = node, context.parent(node)
    while isinstance(parent, CONTAINERS):
        here, parent = parent, context.parent(parent)
    if here is node or not isinstance(parent, (cst.Assign, cst.AnnAssign)):
        return False
    targets = [t.target for t in parent.targets] if isinstance(parent, cst.Assign) else [parent.target]
    names = [target.value for target in targets if isinstance(target, cst.Name)]
    at_top = enclosing(context.tree, parent, (cst.FunctionDef, cst.ClassDef)) is None
    return at_top and any(not name.startswith("_") for name in names)


def _read_as_attribute(context: FileContext, name: str) -> bool:
    """True if an attribute of that name is read in this file, and each read that does something is followed.

    Raises:
        LeaveError: Something is sent through one that can't be followed: in a base class, or through another object.
    """
    found = False
    for attribute in context.tree.attributes:
        held = attribute.value
        if not isinstance(held, cst.Attribute) or held.attr.value != name or attribute.attr.value not in METHODS:
            continue
        if context.uses.of_attribute(attribute) is None:
            raise LeaveError("ESCAPES", attribute)
        found = True
    return found
