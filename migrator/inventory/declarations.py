"""How a decorator or call makes a task, and what the task is called.

By the libraries' own decorators, under any name, through ``functools.partial`` and through decorators that the project
defines itself (:mod:`migrator.inventory.project_decorators`).
Source: ``dramatiq/actor.py`` (the name is ``actor_name`` or the function's), ``celery/app/base.py`` ``gen_task_name``
(module and function, joined by a dot).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from migrator.inventory.applications import Applications
from migrator.inventory.module_facts import Function, ModuleFacts, resolve
from migrator.wire.message import System

_ACTORS = frozenset({"dramatiq.actor", "dramatiq.actor.actor"})
GENERIC = frozenset({"dramatiq.GenericActor", "dramatiq.generic.GenericActor"})
_SHARED = frozenset({"celery.shared_task", "celery.app.shared_task", "celery.task", "celery.decorators.task"})
TASK_CLASSES = frozenset({"celery.Task", "celery.app.task.Task"})
_PARTIAL = frozenset({"functools.partial"})
#: Everything of the two libraries that makes a task of a function or class.
MAKERS = _ACTORS | GENERIC | _SHARED | TASK_CLASSES
_NAME_KEYS = {System.DRAMATIQ: "actor_name", System.CELERY: "name"}
_OWN_NAME = frozenset({"__name__", "__qualname__"})
#: Decorators above each other.
_DEPTH = 5
#: An argument that can't be known.
_UNKNOWN = ast.Tuple([])


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectDecorator:
    """A function of the project that makes a task of the function that it is given."""

    facts: ModuleFacts
    function: Function
    #: It is a method: the first parameter is the object.
    method: bool
    #: What it gives to the library, or to another such decorator.
    declaration: TaskDeclaration
    #: Parameter that the function arrives in, its own or one of a function in it; empty if the library takes it.
    wrapped: str
    #: The function that runs instead of it, if there is one.
    wrapper: Function | None
    #: The task is called as what it is given; otherwise as the function that runs instead.
    keeps_name: bool

    @property
    def place(self) -> tuple[Path, int, str]:
        """Its file, line and dotted path."""
        return self.facts.file, self.function.lineno, f"{self.facts.name}.{self.function.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDeclaration:
    """One use of what makes a task."""

    system: System
    #: Options that are written out for the library.
    keywords: Mapping[str, ast.expr]
    #: Further options are unpacked from this name.
    unpacked: str = ""
    through: ProjectDecorator | None = None
    #: What a decorator of the project is given, by parameter.
    given: Mapping[str, ast.expr] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskMakers:
    """What makes a task in a project, beside what the libraries have."""

    modules: Mapping[str, ModuleFacts]
    applications: Applications
    #: By dotted name, methods also by the objects that have them.
    decorators: Mapping[str, ProjectDecorator] = field(default_factory=dict)


def declaration(node: ast.expr, facts: ModuleFacts, makers: TaskMakers, depth: int = 0) -> TaskDeclaration | None:
    """Return how a decorator, or the function of a call, makes a task; None if it doesn't."""
    call = node if isinstance(node, ast.Call) else None
    target = call.func if call else node
    dotted = resolve(makers.modules, facts.dotted(target))
    if through := makers.decorators.get(dotted):
        return _through(through, call, {})
    found = _named(dotted, target, facts, makers)
    if found is not None:
        return _plain(found, call)
    owner, made = _value(dotted, makers.modules)
    if owner is None or made is None or depth > _DEPTH:
        return None
    inherited = {keyword.arg: keyword.value for keyword in made.keywords if keyword.arg}
    if made.args and resolve(makers.modules, owner.dotted(made.func)) in _PARTIAL:
        inner = makers.decorators.get(resolve(makers.modules, owner.dotted(made.args[0])))
        if inner is not None:
            return _through(inner, call, inherited)
        found = _named(resolve(makers.modules, owner.dotted(made.args[0])), made.args[0], owner, makers)
        return None if found is None else _plain(found, call, inherited)
    if call is not None or (made.args and not makers.decorators):
        return None
    above = declaration(made, owner, makers, depth + 1)
    return None if above is None or applied_to(made, above) is not None else above


def _named(dotted: str, target: ast.expr, facts: ModuleFacts, makers: TaskMakers) -> System | None:
    """Return the system whose decorator a dotted name or an expression is."""
    if dotted in _ACTORS:
        return System.DRAMATIQ
    base, _, attribute = dotted.rpartition(".")
    if dotted in _SHARED or (attribute == "task" and resolve(makers.modules, base) in makers.applications.names):
        return System.CELERY
    if isinstance(target, ast.Attribute) and target.attr == "task":
        return System.CELERY if makers.applications.is_one(facts, target.value, makers.modules) else None
    return None


def _value(dotted: str, modules: Mapping[str, ModuleFacts]) -> tuple[ModuleFacts | None, ast.Call | None]:
    """Return the call whose result a module keeps under a dotted name."""
    head, _, name = dotted.rpartition(".")
    owner = modules.get(head)
    value = owner.values.get(name) if owner is not None else None
    return owner, value if isinstance(value, ast.Call) else None


def _plain(system: System, call: ast.Call | None, inherited: Mapping[str, ast.expr] | None = None) -> TaskDeclaration:
    keywords = {**(inherited or {})}
    unpacked = ""
    for keyword in call.keywords if call else ():
        if keyword.arg:
            keywords[keyword.arg] = keyword.value
        else:
            unpacked = keyword.value.id if isinstance(keyword.value, ast.Name) else "?"
    return TaskDeclaration(system=system, keywords=keywords, unpacked=unpacked)


def _through(decorator: ProjectDecorator, call: ast.Call | None, inherited: Mapping[str, ast.expr]) -> TaskDeclaration:
    """Bind what a decorator of the project is given to its parameters."""
    arguments = decorator.function.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)][int(decorator.method) :]
    known = {*names, *(argument.arg for argument in arguments.kwonlyargs)}
    given: dict[str, ast.expr] = {}
    further: dict[str, ast.expr] = {}
    positional = call.args if call else []
    starred = any(isinstance(argument, ast.Starred) for argument in positional)
    starred |= any(keyword.arg is None for keyword in call.keywords) if call else False
    given.update(zip(names, positional if not starred else (), strict=False))
    keywords = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg} if call else {}
    for name, value in {**inherited, **keywords}.items():
        (given if name in known else further)[name] = value
    if starred:
        given = {**dict.fromkeys(known, _UNKNOWN), **given}
    inner = decorator.declaration
    hands_on = arguments.kwarg is not None and inner.unpacked == arguments.kwarg.arg
    return TaskDeclaration(
        system=inner.system,
        keywords={**(further if hands_on else {}), **inner.keywords},
        unpacked="?" if starred and hands_on else "",
        through=decorator,
        given=given,
    )


def applied_to(call: ast.Call, found: TaskDeclaration) -> ast.expr | None:
    """Return what a call makes a task of at once; None if it only returns a decorator."""
    if found.through is not None:
        return found.given.get(found.through.wrapped)
    return call.args[0] if call.args else None


def decorators(found: TaskDeclaration) -> Iterator[tuple[Path, int, str]]:
    """Yield where the decorators of the project are defined through which a task is made."""
    while found.through is not None:
        yield found.through.place
        found = found.through.declaration


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedFunction:
    """What a task is made of: the function's name, and the module that defines it."""

    name: str
    module: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scope:
    """Where an expression stands, and what its names were given."""

    facts: ModuleFacts
    subject: NamedFunction
    wrapped: str = ""
    given: Mapping[str, tuple[ast.expr, _Scope]] = field(default_factory=dict)


def task_name(found: TaskDeclaration, facts: ModuleFacts, subject: NamedFunction) -> str:
    """Return what a task is called; empty if that can't be read."""
    return _task_name(found, _Scope(facts=facts, subject=subject))


def _task_name(found: TaskDeclaration, scope: _Scope) -> str:
    key = _NAME_KEYS[found.system]
    decorator = found.through
    if decorator is None or (key in found.keywords and key not in decorator.declaration.keywords):
        given = _text(found.keywords[key], scope) if key in found.keywords else ""
        return _own_name(found, scope.subject) if given == "" else given or ""
    inner = _Scope(
        facts=decorator.facts,
        subject=scope.subject,
        wrapped=decorator.wrapped,
        given={**_defaults(decorator, scope), **{name: (value, scope) for name, value in found.given.items()}},
    )
    below = decorator.declaration
    if below.through is None and key not in below.keywords:
        if found.unpacked or (below.unpacked and below.unpacked != _kwarg(decorator)):
            return ""
        if decorator.keeps_name:
            return _own_name(below, scope.subject)
        wrapper = decorator.wrapper
        return _own_name(below, NamedFunction(name=wrapper.name, module=decorator.facts.name)) if wrapper else ""
    if below.through is None:
        given = _text(below.keywords[key], inner)
        return _own_name(below, scope.subject) if given == "" and decorator.keeps_name else given or ""
    return _task_name(below, inner)


def _kwarg(decorator: ProjectDecorator) -> str:
    return decorator.function.args.kwarg.arg if decorator.function.args.kwarg else ""


def _own_name(found: TaskDeclaration, subject: NamedFunction) -> str:
    if found.system is System.DRAMATIQ or not subject.name:
        return subject.name
    return f"{subject.module}.{subject.name}"


def _defaults(decorator: ProjectDecorator, scope: _Scope) -> dict[str, tuple[ast.expr, _Scope]]:
    arguments = decorator.function.args
    places = _Scope(facts=decorator.facts, subject=scope.subject)
    positional = [*arguments.posonlyargs, *arguments.args]
    found = {
        argument.arg: (value, places)
        for argument, value in zip(reversed(positional), reversed(arguments.defaults), strict=False)
    }
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is not None:
            found[argument.arg] = (default, places)
    return found


def _text(node: ast.expr, scope: _Scope) -> str | None:
    """Return a string that can be read, ``""`` for None, and None for what is computed."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else "" if node.value is None else None
    if isinstance(node, ast.Name):
        if node.id in scope.given:
            value, place = scope.given[node.id]
            return _text(value, place)
        return scope.facts.text(node)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == scope.wrapped:
        if node.attr in _OWN_NAME:
            return scope.subject.name or None
        return scope.subject.module if node.attr == "__module__" else None
    if isinstance(node, ast.Attribute):
        return scope.facts.text(node)
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
        return next((text for value in node.values if (text := _text(value, scope)) != ""), "")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _joined([_text(node.left, scope), _text(node.right, scope)])
    if isinstance(node, ast.JoinedStr):
        return _joined([_text(part, scope) for part in node.values])
    if isinstance(node, ast.FormattedValue) and node.conversion == -1 and node.format_spec is None:
        return _text(node.value, scope)
    return None


def _joined(parts: list[str | None]) -> str | None:
    return None if any(part is None or part == "" for part in parts) else "".join(part for part in parts if part)
