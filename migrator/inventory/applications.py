"""Celery applications of a project: what each of its names stands for, without importing anything.

An application is made by ``Celery`` or a class that descends from it, by a function that returns one, is kept in a
variable, in an attribute of a class or of an object of that class, and is handed on under other names.
Source: ``celery/app/base.py``, ``celery/_state.py`` (``current_app``, ``get_current_app``).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from migrator.inventory.module_facts import Function, ModuleFacts, Statement, resolve, statements

_CLASSES = frozenset({"celery.Celery", "celery.app.Celery", "celery.app.base.Celery"})
_FUNCTIONS = frozenset({
    "celery.app.app_or_default",
    "celery._state.get_current_app",
    "celery.current_app._get_current_object",
})  # fmt: skip
_NAMES = frozenset({"celery.current_app", "celery._state.current_app", "celery.app.current_app"})
_ITSELF = frozenset({"self", "cls"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Applications:
    """What stands for a Celery application, by dotted name."""

    #: Classes that make one.
    classes: set[str] = field(default_factory=lambda: set(_CLASSES))
    #: Functions and methods that return one.
    functions: set[str] = field(default_factory=lambda: set(_FUNCTIONS))
    #: Variables and attributes that are one.
    names: set[str] = field(default_factory=lambda: set(_NAMES))
    #: Classes of the project to what they descend from.
    bases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    #: Variables that hold an object of such a class.
    objects: dict[str, str] = field(default_factory=dict)

    def is_one(self, facts: ModuleFacts, node: ast.expr | None, modules: Mapping[str, ModuleFacts]) -> bool:
        """Tell whether an expression of a module is an application."""
        if isinstance(node, ast.Call):
            made = resolve(modules, facts.dotted(node.func))
            return made in self.classes or made in self.functions
        if isinstance(node, ast.BoolOp):
            return any(self.is_one(facts, value, modules) for value in node.values)
        if isinstance(node, ast.IfExp):
            return self.is_one(facts, node.body, modules) or self.is_one(facts, node.orelse, modules)
        return resolve(modules, facts.dotted(node)) in self.names

    def _size(self) -> tuple[int, ...]:
        return tuple(map(len, (self.classes, self.functions, self.names, self.bases, self.objects)))


def find_applications(modules: Mapping[str, ModuleFacts]) -> Applications:
    """Return every application that these modules make or keep."""
    found = Applications()
    every = [(facts, statements(facts)) for facts in modules.values()]
    size: tuple[int, ...] = ()
    while found._size() != size:
        size = found._size()
        for facts, body in every:
            _learn(facts, body, modules, found)
        _inherit(found)
    return found


def _learn(
    facts: ModuleFacts, body: tuple[Statement, ...], modules: Mapping[str, ModuleFacts], found: Applications
) -> None:
    for statement in body:
        node = statement.node
        around = statement.function or statement.owner
        name = f"{facts.name}.{around}.{getattr(node, 'name', '')}" if around else f"{facts.name}.{_name(node)}"
        if isinstance(node, ast.ClassDef):
            found.bases[name] = tuple(resolve(modules, facts.dotted(base)) for base in node.bases)
            if found.classes.intersection(found.bases[name]):
                found.classes.add(name)
        elif isinstance(node, Function):
            if _annotated(facts, node.returns, modules, found):
                found.functions.add(name)
            for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
                if argument.annotation and _annotated(facts, argument.annotation, modules, found):
                    found.names.update(_variable(facts, Statement(node, "", name), argument.arg))
        elif isinstance(node, ast.Return):
            if _returns_one(facts, statement, body, modules, found):
                found.functions.add(f"{facts.name}.{statement.function}")
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            _assigned(facts, statement, modules, found)


def _name(node: ast.stmt) -> str:
    return str(getattr(node, "name", ""))


def _assigned(
    facts: ModuleFacts, statement: Statement, modules: Mapping[str, ModuleFacts], found: Applications
) -> None:
    node = statement.node
    assert isinstance(node, (ast.Assign, ast.AnnAssign))
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    annotated = isinstance(node, ast.AnnAssign) and _annotated(facts, node.annotation, modules, found)
    if annotated or found.is_one(facts, node.value, modules):
        for target in targets:
            found.names.update(_places(facts, statement, target))
    elif isinstance(node.value, ast.Call):
        made = resolve(modules, facts.dotted(node.value.func))
        if made in found.bases:
            places = (place for target in targets for place in _places(facts, statement, target))
            found.objects.update(dict.fromkeys(places, made))


def _places(facts: ModuleFacts, statement: Statement, target: ast.expr) -> Iterator[str]:
    """Yield the dotted names by which an assigned variable or attribute can be read."""
    if isinstance(target, ast.Name):
        yield from _variable(facts, statement, target.id)
    elif isinstance(target, ast.Attribute) and facts.dotted(target):
        yield facts.dotted(target)
        if statement.owner and isinstance(target.value, ast.Name) and target.value.id in _ITSELF:
            yield f"{facts.name}.{statement.owner}.{target.attr}"


def _variable(facts: ModuleFacts, statement: Statement, name: str) -> Iterator[str]:
    if statement.function:
        # Scopes are not told apart: a variable of a function counts where the module has no other of that name.
        other = facts.values.get(name)
        if name not in facts.bindings and (other is None or (isinstance(other, ast.Constant) and other.value is None)):
            yield f"{facts.name}.{name}"
    else:
        yield f"{facts.name}.{statement.owner}.{name}" if statement.owner else f"{facts.name}.{name}"


def _annotated(
    facts: ModuleFacts, node: ast.expr | None, modules: Mapping[str, ModuleFacts], found: Applications
) -> bool:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            node = ast.parse(node.value, mode="eval").body
        except SyntaxError:
            return False
    return node is not None and resolve(modules, facts.dotted(node)) in found.classes


def _returns_one(
    facts: ModuleFacts,
    statement: Statement,
    body: tuple[Statement, ...],
    modules: Mapping[str, ModuleFacts],
    found: Applications,
) -> bool:
    assert isinstance(statement.node, ast.Return)
    value = statement.node.value
    if not isinstance(value, ast.Name):
        return value is not None and found.is_one(facts, value, modules)
    local = [
        other.node.value
        for other in body
        if other.function == statement.function
        and isinstance(other.node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == value.id for target in other.node.targets)
    ]
    return any(found.is_one(facts, given, modules) for given in local) if local else found.is_one(facts, value, modules)


def _inherit(found: Applications) -> None:
    """Give what classes have to the classes below them and to their objects."""
    for known in (found.names, found.functions):
        for name in list(known):
            owner, _, attribute = name.rpartition(".")
            if owner not in found.bases:
                continue
            below = [cls for cls, bases in found.bases.items() if owner in bases]
            known.update(f"{heir}.{attribute}" for heir in below)
            known.update(f"{heir.rpartition('.')[0]}.self.{attribute}" for heir in (owner, *below))
            known.update(f"{place}.{attribute}" for place, cls in found.objects.items() if cls == owner)
