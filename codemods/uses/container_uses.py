"""What a file does with a container of tasks that several files share: every item is followed, or listed as lost."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

import libcst as cst

from codemods.editing.context import FileContext, Use
from codemods.plan.plan_index import Container
from codemods.resolve.name_resolution import enclosing
from codemods.syntax.scopes import Binding, BindingKind

_CHANGES = frozenset({"append", "extend", "insert", "remove", "pop", "clear", "update", "setdefault", "popitem", "add"})
_COPIES = frozenset(f"builtins.{name}" for name in ("list", "tuple", "set", "sorted", "reversed", "iter", "enumerate"))
_LOOKERS = frozenset(f"builtins.{name}" for name in ("len", "print", "repr", "str", "bool", "isinstance", "id", "type"))
_LOOKED_AT = (cst.Comparison, cst.ComparisonTarget, cst.Assert, cst.Expr, cst.If, cst.While, cst.UnaryOperation)
_DEPTH = 6
_HOLDS = (cst.Element, cst.DictElement, cst.Tuple, cst.List, cst.Set, cst.Dict)


class _Kind(Enum):
    """What iterating over it yields: items, keys, or pairs whose second is an item."""

    SEQUENCE = "sequence"
    MAPPING = "mapping"
    PAIRS = "pairs"


def mark_containers(context: FileContext) -> None:
    """Record for each use which shared container it came out of, and list the reads of one that can't be followed."""
    if not context.index.containers:
        return
    for node, container in _reads(context):
        origin, kind = container.origin, _Kind.MAPPING if container.mapping else _Kind.SEQUENCE
        if origin.rpartition(".")[0] != context.values.where.module:
            context.result.containers_read.add(origin)
        for reached, followed in _container_use(context, node, kind):
            use = context.uses.of_node(reached)
            if followed and use is not None and (use.attribute is not None or use.call is not None):
                use.container = origin
            elif not followed or isinstance(context.parent(reached), (cst.Attribute, cst.Call)):
                context.result.containers_lost.setdefault(origin, []).append(reached)
    for use in context.uses:
        if use.attribute is None and use.call is None:
            use.container = _written_in(context, use)


def is_changed(context: FileContext, binding: Binding) -> bool:
    """True if a file puts something into a container or takes it out."""
    for load in binding.scope.references.get(binding.name, ()):
        parent = context.parent(load)
        if isinstance(parent, cst.Attribute) and parent.value is load and parent.attr.value in _CHANGES:
            return True
        if isinstance(parent, cst.Subscript) and parent.value is load:
            above = context.parent(parent)
            if isinstance(above, (cst.AssignTarget, cst.AugAssign, cst.Del)):
                return True
    return False


def _written_in(context: FileContext, use: Use) -> str:
    """Return the shared container in whose literal a task stands; empty if it is in none."""
    here, parent = use.node, context.parent(use.node)
    while isinstance(parent, _HOLDS):
        here, parent = parent, context.parent(parent)  # type: ignore[assignment]
    if here is use.node or not isinstance(parent, (cst.Assign, cst.AnnAssign)):
        return ""
    targets = [t.target for t in parent.targets] if isinstance(parent, cst.Assign) else [parent.target]
    if enclosing(context.tree, parent, (cst.FunctionDef, cst.ClassDef)) is not None:
        return ""
    names = [f"{context.values.where.module}.{t.value}" for t in targets if isinstance(t, cst.Name)]
    return next((name for name in names if name in context.index.containers), "")


def _reads(context: FileContext) -> Iterator[tuple[cst.BaseExpression, Container]]:
    """Yield every expression that is a shared container."""
    for load in context.tree.loads:
        node: cst.BaseExpression = load
        bindings = context.values.bindings(load)
        paths = [context.values.imported(b) for b in bindings if b.kind is BindingKind.IMPORT]
        if any(b.kind is BindingKind.ASSIGN and b.scope.parent is None for b in bindings):
            paths.append(f"{context.values.where.module}.{load.value}")
        if not bindings and load.value in context.values.stars:
            paths.append(context.values.stars[load.value])
        while paths:
            found = [context.index.containers[path] for path in paths if path in context.index.containers]
            if found:
                yield node, found[0]
                break
            parent = context.parent(node)
            if not isinstance(parent, cst.Attribute) or parent.value is not node:
                break
            node, paths = parent, [f"{path}.{parent.attr.value}" for path in paths]


def _container_use(
    context: FileContext, node: cst.BaseExpression, kind: _Kind, depth: int = 0
) -> Iterator[tuple[cst.CSTNode, bool]]:
    """Yield the items that are taken out of a container, and with False what can't be followed."""
    parent = context.parent(node)
    if depth > _DEPTH:
        yield node, False
    elif isinstance(parent, cst.Subscript) and parent.value is node and kind is not _Kind.PAIRS:
        yield from _item(context, parent, depth)
    elif isinstance(parent, cst.Attribute) and parent.value is node:
        yield from _method(context, parent, depth)
    elif isinstance(parent, (cst.For, cst.CompFor)) and parent.iter is node:
        yield from _iterated(context, parent.target, kind, depth)
    elif isinstance(parent, cst.Arg) and isinstance(call := context.parent(parent), cst.Call):
        called = context.values.only(call.func)
        if called in _COPIES and not parent.star and len(call.args) == 1:
            pairs = called == "builtins.enumerate" and kind is _Kind.SEQUENCE
            yield from _container_use(context, call, _Kind.PAIRS if pairs else kind, depth + 1)
        elif called not in _LOOKERS:
            yield node, False
    elif (name := _named(parent, node)) is not None:
        for load in _loads(context, name):
            yield from _container_use(context, load, kind, depth + 1)
    elif not isinstance(parent, _LOOKED_AT):
        yield node, False


def _method(context: FileContext, node: cst.Attribute, depth: int) -> Iterator[tuple[cst.CSTNode, bool]]:
    call, name = context.parent(node), node.attr.value
    if not isinstance(call, cst.Call) or call.func is not node:
        yield node, False
    elif name == "get":
        yield from _item(context, call, depth)
    elif name in {"values", "items"}:
        yield from _container_use(context, call, _Kind.SEQUENCE if name == "values" else _Kind.PAIRS, depth + 1)
    elif name != "keys":
        yield node, False


def _iterated(
    context: FileContext, target: cst.BaseExpression, kind: _Kind, depth: int
) -> Iterator[tuple[cst.CSTNode, bool]]:
    """Follow the target of a loop; over a mapping it takes keys."""
    if kind is _Kind.MAPPING:
        return
    if kind is _Kind.PAIRS and isinstance(target, (cst.Tuple, cst.List)) and len(target.elements) == 2:
        target = target.elements[1].value
    if not isinstance(target, cst.Name):
        yield target, False
        return
    for load in _loads(context, target):
        yield from _item(context, load, depth)


def _item(context: FileContext, node: cst.BaseExpression, depth: int) -> Iterator[tuple[cst.CSTNode, bool]]:
    parent = context.parent(node)
    if isinstance(parent, (cst.Attribute, cst.Call)):
        yield node, True
    elif (name := _named(parent, node)) is not None and depth < _DEPTH:
        for load in _loads(context, name):
            yield from _item(context, load, depth + 1)
    elif isinstance(parent, cst.Arg) and isinstance(call := context.parent(parent), cst.Call):
        if context.values.only(call.func) not in _LOOKERS:
            yield node, False
    elif not isinstance(parent, _LOOKED_AT):
        yield node, False


def _named(parent: cst.CSTNode | None, node: cst.CSTNode) -> cst.Name | None:
    """Return the one name that an assignment gives a value."""
    if isinstance(parent, cst.Assign) and parent.value is node and len(parent.targets) == 1:
        target: cst.CSTNode = parent.targets[0].target
    elif isinstance(parent, (cst.AnnAssign, cst.NamedExpr)) and parent.value is node:
        target = parent.target
    else:
        return None
    return target if isinstance(target, cst.Name) else None


def _loads(context: FileContext, name: cst.Name) -> Iterator[cst.Name]:
    yield from context.tree.reads_of(name)
