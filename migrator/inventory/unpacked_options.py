"""What ``**options`` stands for: a dict that is written out, or a function of the project that returns one.

``@dramatiq.actor(**DEFAULTS)``, ``@dramatiq.actor(**defaults(max_retries=3))``. Followed are constants of a module that
nothing changes, and functions whose body is one ``return``; anything else is not known.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

from migrator.inventory.callables import Load, callee
from migrator.inventory.module_facts import ModuleFacts

_DEPTH = 8
#: Methods that change a dict.
_CHANGES = frozenset({"update", "setdefault", "pop", "popitem", "clear", "__setitem__"})


@dataclass(frozen=True, slots=True)
class Option:
    """One option: an expression, and the file whose names it uses."""

    facts: ModuleFacts
    node: ast.expr


Options = dict[str, Option]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an expression stands: its file, and what the parameters of the function around it were given."""

    facts: ModuleFacts
    load: Load
    values: Mapping[str, Option] = field(default_factory=dict)
    mappings: Mapping[str, Options] = field(default_factory=dict)
    depth: int = 0


def unpacked(facts: ModuleFacts, node: ast.expr, load: Load) -> Options | None:
    """Return the options that an unpacked expression stands for; None if that can't be known."""
    return _mapping(_Place(facts, load), node)


def _mapping(place: _Place, node: ast.expr) -> Options | None:
    if place.depth > _DEPTH:
        return None
    if isinstance(node, ast.Dict):
        return _merged(place, list(zip(node.keys, node.values, strict=True)))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _merged(place, [(None, node.left), (None, node.right)])
    if isinstance(node, ast.Name) and node.id in place.mappings:
        return place.mappings[node.id]
    if isinstance(node, (ast.Name, ast.Attribute)):
        return _constant(place, node)
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
            return _merged(place, [(_key(k), k.value) for k in node.keywords])
        return _returned(place, node)
    return None


def _merged(place: _Place, items: list[tuple[ast.expr | None, ast.expr]]) -> Options | None:
    found: Options = {}
    for key, value in items:
        if key is None:
            inner = _mapping(place, value)
            if inner is None:
                return None
            found |= inner
        elif isinstance(key, ast.Constant) and isinstance(key.value, str):
            found[key.value] = _value(place, value)
        else:
            return None
    return found


def _key(keyword: ast.keyword) -> ast.expr | None:
    return ast.Constant(keyword.arg) if keyword.arg else None


def _value(place: _Place, node: ast.expr) -> Option:
    given = place.values.get(node.id) if isinstance(node, ast.Name) else None
    return given or Option(place.facts, node)


def _constant(place: _Place, node: ast.Name | ast.Attribute) -> Options | None:
    """Return a dict that a module gives a name once and never changes."""
    head, _, name = place.facts.dotted(node).rpartition(".")
    owner = place.facts if head == place.facts.name else place.load(head)
    if owner is None or name not in owner.values or _changes(owner, name):
        return None
    return _mapping(_Place(owner, place.load, depth=place.depth + 1), owner.values[name])


def _changes(facts: ModuleFacts, name: str) -> bool:
    stored = 0
    for node in facts.nodes:
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load) and _is(node.value, name):
            return True
        if isinstance(node, ast.Attribute) and node.attr in _CHANGES and _is(node.value, name):
            return True
        stored += isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Load)
    return stored != 1


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _returned(place: _Place, call: ast.Call) -> Options | None:
    """Return what a function of the project returns for a call."""
    found = callee(place.facts, call.func, place.load)
    function = found.function if found is not None and not found.method else None
    owner = place.load(found.module) if found is not None else None
    if function is None or owner is None or function.decorator_list or isinstance(function, ast.AsyncFunctionDef):
        return None
    body = [s for s in function.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    if len(body) != 1 or not isinstance(body[0], ast.Return) or body[0].value is None:
        return None
    inner = _bound(place, function, call, owner)
    return None if inner is None else _mapping(inner, body[0].value)


def _bound(place: _Place, function: ast.FunctionDef, call: ast.Call, owner: ModuleFacts) -> _Place | None:
    """Return the inside of a function with its parameters bound to what a call gives them."""
    arguments = function.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    only = [argument.arg for argument in arguments.kwonlyargs]
    if arguments.vararg or len(call.args) > len(names) or any(isinstance(arg, ast.Starred) for arg in call.args):
        return None
    values = {n: Option(owner, d) for n, d in zip(names[::-1], arguments.defaults[::-1], strict=False)}
    values |= {n: Option(owner, d) for n, d in zip(only, arguments.kw_defaults, strict=True) if d is not None}
    values |= {name: _value(place, node) for name, node in zip(names, call.args, strict=False)}
    given = _merged(place, [(_key(k), k.value) for k in call.keywords])
    if given is None:
        return None
    values |= {name: option for name, option in given.items() if name in (*names, *only)}
    more = {name: option for name, option in given.items() if name not in values}
    if (more and arguments.kwarg is None) or any(name not in values for name in (*names, *only)):
        return None
    mappings = {arguments.kwarg.arg: more} if arguments.kwarg is not None else {}
    return _Place(owner, place.load, values, mappings, place.depth + 1)
