"""Lists, tuples and dicts of tasks at the top of a module, which other files read: ``from tasks import ALL``.

Their items are rewritten together with everything that other files do with them, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import libcst as cst

from codemods.editing.context import FileContext
from codemods.plan.plan_index import Container
from codemods.resolve.name_resolution import text_of
from codemods.resolve.shared_items import UNKNOWN, path_of
from codemods.syntax.scopes import BindingKind
from codemods.uses.container_uses import is_changed
from codemods.uses.uses import own_names
from migrator.wire.message import System

_LITERALS = (cst.List, cst.Tuple, cst.Set, cst.Dict)


def offered_containers(context: FileContext) -> dict[str, Container]:
    """Return the containers that a module offers, its own and those that it imports, by dotted path."""
    module = context.values.where.module
    if not module or module in context.index.retired_modules:
        return {}
    context.values.own = own_names(context.index, module)
    found: dict[str, Container] = {}
    for name, group in context.tree.module.bindings.items():
        path = f"{module}.{name}"
        literals = [b.value for b in group if b.kind is BindingKind.ASSIGN and isinstance(b.value, _LITERALS)]
        items = [item for literal in literals for item in _items(context, literal)]
        if any(_delicate(context, task) for task in items):
            whole = len(group) == 1 and not is_changed(context, group[0])
            pairs = tuple((item.key, item.path if whole else UNKNOWN) for item in items)
            found[path] = Container(origin=path, items=pairs, mapping=isinstance(literals[0], cst.Dict))
            continue
        for binding in group:
            known = context.values.imported(binding) if binding.kind is BindingKind.IMPORT else ""
            if binding.kind is BindingKind.ASSIGN and binding.value is not None:
                known = path_of(context.values, binding.value)
            if known in context.index.containers:
                found[path] = context.index.containers[known]
    for name, path in context.values.stars.items():
        if path in context.index.containers:
            found[f"{module}.{name}"] = context.index.containers[path]
    return found


@dataclass(frozen=True, slots=True)
class _Item:
    key: str
    path: str
    #: Everything that it may hold, where it is a container itself.
    all: frozenset[str]


def _items(context: FileContext, node: cst.BaseExpression) -> Iterator[_Item]:
    """Yield what a literal holds."""
    elements = node.elements if isinstance(node, _LITERALS) else ()
    for index, element in enumerate(elements):
        key = repr(index)
        if isinstance(element, cst.DictElement):
            text = text_of(element.key)
            key = repr(text) if text is not None else context.source.code(element.key)
        inner = frozenset(path for item in _items(context, element.value) for path in item.all)
        only = context.values.only(element.value)
        plain = isinstance(element, (cst.Element, cst.DictElement)) and context.index.target(only) is not None
        yield _Item(key, only if plain else UNKNOWN, inner | context.values.dotted(element.value))


def _delicate(context: FileContext, item: _Item) -> bool:
    """True if whoever reads an item must change with it."""
    targets = [context.index.target(path) for path in item.all if path != UNKNOWN]
    return any(t and (t.operations or (t.system is System.DRAMATIQ and not t.converted)) for t in targets)
