"""Scopes and bindings of one parsed file, in one walk.

Covers what Python's language reference calls binding: imports, assignments, loops, ``with``, ``except``, parameters,
definitions, walrus, ``match`` captures, ``global`` and ``nonlocal``. LibCST's own scope provider gives the same answers
at fifteen times the cost (it is the oracle in the tests).
Source: https://docs.python.org/3/reference/executionmodel.html#naming-and-binding
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

import libcst as cst


class BindingKind(Enum):
    """What made a name."""

    IMPORT = "import"
    ASSIGN = "assign"
    #: One item of an iterable: a loop or comprehension target.
    ITEM = "item"
    #: ``with expression as name``.
    WITH = "with"
    PARAMETER = "parameter"
    DEFINITION = "definition"
    #: Unpacking, ``except … as``, ``match`` captures, augmented assignment: made here, value unknown.
    OTHER = "other"


@dataclass(slots=True, eq=False)
class Binding:
    """One place that gives a name a value."""

    name: str
    kind: BindingKind
    #: The name as written, or the import alias, definition or parameter.
    node: cst.CSTNode
    scope: Scope
    #: What it is given: the right-hand side, the iterable, the context manager.
    value: cst.BaseExpression | None = None
    #: The import statement, for IMPORT.
    statement: cst.Import | cst.ImportFrom | None = None


@dataclass(slots=True, eq=False)
class Scope:
    """Module, class, function, lambda or comprehension."""

    node: cst.CSTNode
    parent: Scope | None
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    references: dict[str, list[cst.Name]] = field(default_factory=dict)
    outer: dict[str, Scope] = field(default_factory=dict)

    def lookup(self, name: str) -> tuple[Binding, ...]:
        """Return everything that may have given ``name`` its value when it is read here; empty for builtins."""
        home = self.home(name)
        return tuple(home.bindings[name]) if home else ()

    def home(self, name: str) -> Scope | None:
        """Return the scope that holds the bindings of a name that is read here; None for builtins."""
        scope: Scope = self
        first = True
        while True:
            scope = scope.outer.get(name, scope)
            if name in scope.bindings and (first or not isinstance(scope.node, cst.ClassDef)):
                return scope
            if scope.parent is None:
                return None
            first = False
            scope = scope.parent

    def module(self) -> Scope:
        """Return the outermost scope."""
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope


@dataclass(slots=True)
class Tree:
    """What one walk of a file found."""

    module: Scope
    parents: dict[cst.CSTNode, cst.CSTNode] = field(default_factory=dict)
    #: The scope in which a name is read.
    scopes: dict[cst.CSTNode, Scope] = field(default_factory=dict)
    #: Names that are read, in source order.
    loads: list[cst.Name] = field(default_factory=list)
    calls: list[cst.Call] = field(default_factory=list)
    attributes: list[cst.Attribute] = field(default_factory=list)
    strings: list[cst.SimpleString | cst.FormattedString] = field(default_factory=list)
    imports: list[cst.Import | cst.ImportFrom] = field(default_factory=list)
    definitions: list[cst.FunctionDef | cst.ClassDef] = field(default_factory=list)
    assignments: list[cst.Assign | cst.AnnAssign | cst.AugAssign] = field(default_factory=list)
    #: Strings in the place of an annotation, with the scope that they are read in.
    annotations: list[tuple[cst.SimpleString, Scope]] = field(default_factory=list)
    _reads: dict[cst.CSTNode, list[cst.Name]] | None = None
    _bindings: dict[str, list[Binding]] | None = None
    _declared: frozenset[str] | None = None

    def reads_of(self, node: cst.CSTNode) -> Sequence[cst.Name]:
        """Return the places where what a binding gives may be read, in source order.

        Args:
            node: The binding's; nothing is read of any other.
        """
        if self._reads is None:
            groups: dict[tuple[Scope, str], list[cst.Name]] = {}
            for load in self.loads:
                home = self.scopes[load].home(load.value)
                if home is not None:
                    groups.setdefault((home, load.value), []).append(load)
            self._reads = {b.node: reads for (home, name), reads in groups.items() for b in home.bindings[name]}
        return self._reads.get(node, ())

    def bindings_of(self, name: str) -> Sequence[Binding]:
        """Return every binding of a name in the scopes in which something is read or assigned."""
        if self._bindings is None:
            self._bindings = {}
            for scope in self.all_scopes():
                for bound, group in scope.bindings.items():
                    self._bindings.setdefault(bound, []).extend(group)
        return self._bindings.get(name, ())

    def declared(self) -> frozenset[str]:
        """Return the names that some scope declares ``global`` or ``nonlocal``."""
        if self._declared is None:
            self._declared = frozenset(name for scope in self.all_scopes() for name in scope.outer)
        return self._declared

    def all_scopes(self) -> Collection[Scope]:
        """Return the scopes in which something is read or assigned."""
        return {id(scope): scope for scope in self.scopes.values()}.values()


COMPREHENSIONS = (cst.ListComp, cst.SetComp, cst.DictComp, cst.GeneratorExp)
_WHITESPACE = frozenset(
    {cst.SimpleWhitespace, cst.ParenthesizedWhitespace, cst.TrailingWhitespace, cst.EmptyLine, cst.Comment, cst.Newline}
)
#: Fields that hold names which are no references.
_LABELS: dict[type, tuple[str, ...]] = {
    cst.Attribute: ("attr",),
    cst.Arg: ("keyword",),
    cst.FunctionDef: ("name",),
    cst.ClassDef: ("name",),
    cst.Param: ("name",),
    cst.NameItem: ("name",),
    cst.MatchKeywordElement: ("key",),
    cst.ImportFrom: ("module",),
    cst.ImportAlias: ("name", "asname"),
    cst.TypeVar: ("name",),
    cst.TypeVarTuple: ("name",),
    cst.ParamSpec: ("name",),
}


class _NodeFields(dict[type, tuple[tuple[str, bool], ...]]):
    """For each kind of node its fields that may hold children, whitespace left out, and whether they are labels."""

    def __missing__(self, kind: type) -> tuple[tuple[str, bool], ...]:
        labels = _LABELS.get(kind, ())
        names = (item.name for item in dataclasses.fields(kind))
        kept = (n for n in names if not n.startswith(("whitespace", "leading_lines", "lines_after")))
        self[kind] = tuple((name, name in labels) for name in kept)
        return self[kind]


class _NoChild(dict[type, bool]):
    """For each kind of value whether it is no node that is visited: whitespace, text, a sentinel, nothing."""

    def __missing__(self, kind: type) -> bool:
        self[kind] = kind in _WHITESPACE or not issubclass(kind, cst.CSTNode)
        return self[kind]


FIELDS = _NodeFields()
NO_CHILD = _NoChild()


def descendants(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """Yield a node and everything below it, whitespace left out."""
    yield node
    for name, _ in FIELDS[node.__class__]:
        value = getattr(node, name)
        for child in value if value.__class__ in (list, tuple) else (value,):
            if not NO_CHILD[child.__class__]:
                yield from descendants(child)
