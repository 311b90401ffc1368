"""What an expression stands for, as dotted paths: names followed through scopes, aliases and literals.

Never by name alone: an empty answer means unknown, and a mixed one says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import libcst as cst

from codemods.resolve.shared_items import SAME_ITEMS, UNKNOWN, literal_key, shared
from codemods.resolve.unpacking import unpacked, unpacked_from
from codemods.syntax.scopes import Binding, BindingKind, Scope, Tree
from migrator.inventory.source_files import absolute

if TYPE_CHECKING:
    from codemods.plan.plan_index import Container

_DEPTH = 12
#: How often the values of one name are looked up inside each other, and how many such look-ups one expression may take:
#: ``query = query.filter(…)`` ten times over refers to itself in ten to the depth ways.
_NESTED = 2
_MOST = 3000
_DEFINES = frozenset({BindingKind.ASSIGN, BindingKind.DEFINITION})


@dataclass(frozen=True, slots=True)
class Where:
    """The module that a file is."""

    module: str
    is_package: bool


class Values:
    """Dotted paths of the expressions of one file."""

    def __init__(self, tree: Tree, where: Where, stars: dict[str, str] | None = None) -> None:
        self.tree = tree
        self.where = where
        #: Names that a star import brings, with their dotted path.
        self.stars = stars or {}
        #: Containers of tasks that modules offer, by dotted path.
        self.containers: Mapping[str, Container] = {}
        #: Names of the legacy tasks that this module defines, however it does.
        self.own: frozenset[str] = frozenset()
        self._known: dict[cst.CSTNode, frozenset[str]] = {}
        self._names: dict[object, frozenset[str]] = {}
        #: Names whose values are being looked up, how many, look-ups so far, and those that were cut short.
        self._entered: Counter[object] = Counter()
        self._inside = 0
        self._lookups = 0
        self._cuts = 0
        self._attributes: dict[tuple[cst.CSTNode, str, str], list[cst.BaseExpression]] | None = None

    def dotted(self, node: cst.BaseExpression) -> frozenset[str]:
        """Return every dotted path that the expression may stand for; UNKNOWN among them if not all are known."""
        if node not in self._known:
            self._lookups = self._lookups if self._inside else 0
            self._known[node] = frozenset(self._value(node, 0))
        return self._known[node]

    def only(self, node: cst.BaseExpression) -> str:
        """Return the one dotted path of an expression, or an empty string."""
        found = self.dotted(node)
        return next(iter(found)) if len(found) == 1 and UNKNOWN not in found else ""

    def imported(self, binding: Binding) -> str:
        """Return the dotted path that an import binds."""
        alias, statement = binding.node, binding.statement
        assert isinstance(alias, cst.ImportAlias)
        if isinstance(statement, cst.ImportFrom):
            base = self.base(statement)
            return f"{base}.{alias.evaluated_name}" if base else alias.evaluated_name
        return alias.evaluated_name if alias.asname else alias.evaluated_name.split(".")[0]

    def base(self, statement: cst.ImportFrom) -> str:
        """Return the absolute module of a ``from`` import."""
        target = dotted_name(statement.module) if statement.module else ""
        return absolute(
            self.where.module, is_package=self.where.is_package, level=len(statement.relative), target=target
        )

    def bindings(self, node: cst.Name) -> tuple[Binding, ...]:
        """Return what may have given a name its value."""
        scope = self.tree.scopes.get(node)
        return scope.lookup(node.value) if scope else ()

    def _value(self, node: cst.BaseExpression, depth: int) -> Iterator[str]:
        if depth > _DEPTH:
            self._cuts += 1
            yield UNKNOWN
        elif isinstance(node, cst.Name):
            yield from self._name(node, depth)
        elif isinstance(node, cst.Attribute):
            yield from self._attribute(node, depth)
        elif isinstance(node, cst.IfExp):
            yield from self._several((node.body, node.orelse), depth)
        elif isinstance(node, cst.BooleanOperation):
            yield from self._several((node.left, node.right), depth)
        elif isinstance(node, cst.NamedExpr):
            yield from self._value(node.value, depth + 1)
        elif isinstance(node, cst.Await):
            yield UNKNOWN
        elif isinstance(node, cst.Subscript):
            items = self.items(node.value, depth)
            yield from self._several(items, depth) if items else shared(self, node.value, literal_key(node))
        elif isinstance(node, cst.Call):
            yield from self._call(node, depth)
        else:
            yield UNKNOWN

    def _several(self, nodes: Iterable[cst.BaseExpression], depth: int) -> Iterator[str]:
        for node in nodes:
            if not (isinstance(node, cst.Name) and node.value == "None"):
                yield from self._value(node, depth + 1)

    def _name(self, node: cst.Name, depth: int) -> frozenset[str]:
        found = self.bindings(node)
        if not found:
            unknown = UNKNOWN if node.value in self.stars else f"builtins.{node.value}"
            return frozenset({self.stars.get(node.value, unknown)})
        return self._once(found[0], lambda: (path for binding in found for path in self._binding(binding, depth)))

    def _once(self, key: object, paths: Callable[[], Iterable[str]]) -> frozenset[str]:
        """Return what a name stands for, cached unless part of the lookup was cut short."""
        if key in self._names:
            return self._names[key]
        if self._entered[key] >= _NESTED or self._lookups > _MOST:
            self._cuts += 1
            return frozenset({UNKNOWN})
        self._entered[key] += 1
        self._inside += 1
        self._lookups += 1
        cuts = self._cuts
        values = frozenset(paths())
        self._entered[key] -= 1
        self._inside -= 1
        if self._cuts == cuts or not self._inside:
            self._names[key] = values
        return values

    def _binding(self, binding: Binding, depth: int) -> Iterator[str]:
        if binding.kind is BindingKind.IMPORT:
            yield self.imported(binding)
        elif binding.name in self.own and binding.scope.parent is None and binding.kind in _DEFINES:
            yield f"{self.where.module}.{binding.name}"
        elif binding.kind is BindingKind.ASSIGN and binding.value is not None:
            yield from self._several((binding.value,), depth)
        elif binding.kind is BindingKind.ITEM and binding.value is not None:
            items = self.items(binding.value, depth)
            yield from self._several(items, depth) if items else shared(self, binding.value)
        elif binding.kind is BindingKind.OTHER and (items := unpacked(self, binding.node)):
            yield from self._several(items, depth)
        elif binding.kind is BindingKind.OTHER and (holder := unpacked_from(self, binding.node)) is not None:
            yield from shared(self, holder)
        elif binding.kind is BindingKind.DEFINITION and binding.scope.parent is None and self.where.module:
            yield f"{self.where.module}.{binding.name}"
        else:
            yield UNKNOWN

    def _attribute(self, node: cst.Attribute, depth: int) -> Iterator[str]:
        own = self._own_attribute(node)
        if own:
            yield from self._once(own[0], lambda: self._several(own, depth))
            return
        for base in self._value(node.value, depth + 1):
            yield UNKNOWN if base == UNKNOWN else f"{base}.{node.attr.value}"

    def _own_attribute(self, node: cst.Attribute) -> list[cst.BaseExpression]:
        """Return the values that the enclosing class assigns to ``self.task`` or ``cls.task`` in this file."""
        if not isinstance(node.value, cst.Name) or node.value.value not in {"self", "cls"}:
            return []
        owner = enclosing(self.tree, node, cst.ClassDef)
        if owner is None:
            return []
        return self._class_values().get((owner, node.value.value, node.attr.value), []) + self._class_values().get(
            (owner, "", node.attr.value), []
        )

    def _class_values(self) -> dict[tuple[cst.CSTNode, str, str], list[cst.BaseExpression]]:
        """Return what each class gives ``self.name``, ``cls.name`` and (with an empty owner) the names of its body."""
        if self._attributes is None:
            self._attributes = {}
            for assignment in self.tree.assignments:
                owner = enclosing(self.tree, assignment, cst.ClassDef)
                if owner is None or assignment.value is None:
                    continue
                plain = enclosing(self.tree, assignment, cst.FunctionDef, stop=owner) is None
                for target in _targets(assignment):
                    if isinstance(target, cst.Attribute) and isinstance(target.value, cst.Name):
                        key = (owner, target.value.value, target.attr.value)
                    elif isinstance(target, cst.Name) and plain:
                        key = (owner, "", target.value)
                    else:
                        continue
                    self._attributes.setdefault(key, []).append(assignment.value)
        return self._attributes

    def items(self, node: cst.BaseExpression, depth: int = 0) -> list[cst.BaseExpression]:
        """Return the expressions that an iterable or mapping literal holds; empty if unknown."""
        if depth > _DEPTH:
            return []
        if isinstance(node, (cst.Tuple, cst.List, cst.Set)):
            return [e.value for e in node.elements] if all(isinstance(e, cst.Element) for e in node.elements) else []
        if isinstance(node, cst.Dict):
            pairs = [e for e in node.elements if isinstance(e, cst.DictElement)]
            return [e.value for e in pairs] if len(pairs) == len(node.elements) else []
        if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and node.func.attr.value == "values":
            return self.items(node.func.value, depth + 1)
        if isinstance(node, cst.Call) and len(node.args) == 1 and self.only(node.func) in SAME_ITEMS:
            return self.items(node.args[0].value, depth + 1)
        if isinstance(node, cst.Name):
            found = self.bindings(node)
            if len(found) == 1 and found[0].kind is BindingKind.ASSIGN and found[0].value is not None:
                return self.items(found[0].value, depth + 1)
        return []

    def _call(self, node: cst.Call, depth: int) -> Iterator[str]:
        called = set(self._value(node.func, depth + 1))
        first = text_of(node.args[0].value) if node.args else None
        second = text_of(node.args[1].value) if len(node.args) > 1 else None
        if called <= {"importlib.import_module", "builtins.__import__"} and called and first and len(node.args) == 1:
            yield first
        elif called == {"builtins.getattr"} and second:
            for base in self._value(node.args[0].value, depth + 1):
                yield UNKNOWN if base == UNKNOWN else f"{base}.{second}"
            if len(node.args) > 2:
                yield from self._several((node.args[2].value,), depth)
        elif isinstance(node.func, cst.Attribute) and node.func.attr.value == "get" and node.args:
            found = self.items(node.func.value, depth)
            yield from self._several(found, depth) if found else shared(self, node.func.value, repr(first or ""))
            yield from self._several([arg.value for arg in node.args[1:]], depth)
        else:
            yield UNKNOWN


def _targets(node: cst.Assign | cst.AnnAssign | cst.AugAssign) -> list[cst.BaseExpression]:
    return [t.target for t in node.targets] if isinstance(node, cst.Assign) else [node.target]


def enclosing(
    tree: Tree,
    node: cst.CSTNode,
    kind: type[cst.CSTNode] | tuple[type[cst.CSTNode], ...],
    stop: cst.CSTNode | None = None,
) -> cst.CSTNode | None:
    """Return the nearest node of a kind around ``node``, or None."""
    here = tree.parents.get(node)
    while here is not None and here is not stop:
        if isinstance(here, kind):
            return here
        here = tree.parents.get(here)
    return None


def dotted_name(node: cst.CSTNode | None) -> str:
    """Return ``a.b.c`` as written; empty for anything else."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        base = dotted_name(node.value)
        return f"{base}.{node.attr.value}" if base else ""
    return ""


def text_of(node: cst.CSTNode | None) -> str | None:
    """Return the value of a plain string literal, implicit concatenation included; None for anything else."""
    if isinstance(node, (cst.SimpleString, cst.ConcatenatedString)):
        value = node.evaluated_value
        return value if isinstance(value, str) else None
    return None


def scope_of(tree: Tree, node: cst.CSTNode) -> Scope:
    """Return the nearest recorded scope at or above a node."""
    here: cst.CSTNode | None = node
    while here is not None:
        if here in tree.scopes:
            return tree.scopes[here]
        here = tree.parents.get(here)
    return tree.module
