"""Decorators that a project defines itself and that make a task of what they are given.

``def job(name): return dramatiq.actor(actor_name=name, max_retries=0)``, also with a function or a wrapper inside, as a
method, and one through another. Where such a decorator is used, a task is made, so the uses are the tasks.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from migrator.inventory.applications import find_applications
from migrator.inventory.callables import Load
from migrator.inventory.declarations import ProjectDecorator, TaskDeclaration, TaskMakers, applied_to, declaration
from migrator.inventory.module_facts import Function, ModuleFacts, resolve

_WRAPS = frozenset({"functools.wraps", "functools.update_wrapper", "wrapt.decorator"})
#: Decorators above each other.
_ROUNDS = 4


class _Use(NamedTuple):
    """What makes a task inside of a function."""

    declaration: TaskDeclaration
    #: What it makes one of; None if it is returned and that comes later.
    of: ast.expr | Function | None


def task_makers(modules: Mapping[str, ModuleFacts]) -> TaskMakers:
    """Return everything that makes a task in these modules."""
    applications = find_applications(modules)
    found: dict[str, ProjectDecorator] = {}
    makers = TaskMakers(modules=modules, applications=applications, decorators=found)
    functions = [item for facts in modules.values() for item in _functions(facts)]
    for _ in range(_ROUNDS):
        before = len(found)
        for facts, owner, function in functions:
            path = ".".join(part for part in (facts.name, owner, function.name) if part)
            decorator = _decorator(facts, function, makers, method=bool(owner)) if path not in found else None
            if decorator is not None:
                found[path] = decorator
                for place, cls in applications.objects.items():
                    if owner and cls == f"{facts.name}.{owner}":
                        found[f"{place}.{function.name}"] = decorator
        if len(found) == before:
            break
    return makers


def with_imported(modules: Mapping[str, ModuleFacts], load: Load) -> dict[str, ModuleFacts]:
    """Return the modules with those that define what makes their tasks: decorators, base classes, applications."""
    found = dict(modules)
    waiting = [path for facts in modules.values() for path in _makes(facts)]
    seen: set[str] = set()
    while waiting:
        path = waiting.pop()
        owner_name, _, name = path.rpartition(".")
        if path in seen or not owner_name:
            continue
        seen.add(path)
        owner = load(owner_name)
        if owner is None:
            waiting.append(owner_name)
            continue
        found.setdefault(owner.name, owner)
        waiting += [f"{star}.{name}" for star in owner.stars]
        waiting += [owner.bindings[name]] if name in owner.bindings else []
        meant = owner.defined.get(name) or owner.values.get(name)
        waiting += _named(owner, ast.walk(meant)) if meant is not None else []
    return found


def _makes(facts: ModuleFacts) -> Iterator[str]:
    """Yield the dotted names of a module's decorators and base classes, and of what is called at its top."""
    for node in facts.nodes:
        if isinstance(node, Function):
            yield from _named(facts, node.decorator_list)
        elif isinstance(node, ast.ClassDef):
            yield from _named(facts, node.bases)
    for value in facts.values.values():
        yield from _named(facts, ast.walk(value))


def _named(facts: ModuleFacts, nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        part = node.func if isinstance(node, ast.Call) else node
        if isinstance(part, (ast.Name, ast.Attribute)) and (path := facts.dotted(part)):
            yield path


def _functions(facts: ModuleFacts) -> Iterator[tuple[ModuleFacts, str, Function]]:
    """Yield the functions and methods that something may come out of."""
    for statement in facts.tree.body:
        if isinstance(statement, Function):
            yield facts, "", statement
        elif isinstance(statement, ast.ClassDef):
            yield from ((facts, statement.name, item) for item in statement.body if isinstance(item, Function))


def _decorator(facts: ModuleFacts, function: Function, makers: TaskMakers, *, method: bool) -> ProjectDecorator | None:
    """Return what a function is as a decorator; None if it isn't one, or its parts can't be followed."""
    if not any(isinstance(node, ast.Return) for node in ast.walk(function)):
        return None
    uses = list(_uses(facts, function, makers))
    if not uses or len({_fingerprint(use) for use in uses}) > 1:
        return None
    use = next((use for use in uses if use.of is not None), uses[0])
    static = any(isinstance(item, ast.Name) and item.id == "staticmethod" for item in function.decorator_list)
    inner = {node.name: node for node in ast.walk(function) if isinstance(node, Function) and node is not function}
    wrapper = use.of if isinstance(use.of, Function) else None
    if isinstance(use.of, ast.Name):
        wrapper = inner.get(use.of.id)
    wrapped = _wrapped(function, use, wrapper, inner)
    if wrapped is None:
        return None
    return ProjectDecorator(
        facts=facts,
        function=function,
        method=method and not static,
        declaration=use.declaration,
        wrapped=wrapped,
        wrapper=wrapper,
        keeps_name=wrapper is None or _keeps_name(facts, wrapper, makers),
    )


def _fingerprint(use: _Use) -> str:
    parts = (f"{name}={ast.dump(value)}" for name, value in sorted(use.declaration.keywords.items()))
    return f"{use.declaration.system} {' '.join(parts)} {use.declaration.unpacked}"


def _uses(facts: ModuleFacts, function: Function, makers: TaskMakers) -> Iterator[_Use]:
    """Yield what makes a task in a function: a decorator of one inside of it, a call, what it returns."""
    returned = {id(node.value) for node in ast.walk(function) if isinstance(node, ast.Return) and node.value}
    counted: set[int] = set()
    for node in ast.walk(function):
        if isinstance(node, Function) and node is not function:
            for item in node.decorator_list:
                counted.update(id(part) for part in ast.walk(item))
                if found := declaration(item, facts, makers):
                    yield _Use(found, node)
        elif isinstance(node, ast.Call) and id(node) not in counted:
            outer = declaration(node.func, facts, makers) if isinstance(node.func, ast.Call) else None
            if outer is not None and node.args:
                counted.add(id(node.func))
                yield _Use(outer, node.args[0])
            elif found := declaration(node, facts, makers):
                given = applied_to(node, found)
                if given is not None or id(node) in returned:
                    yield _Use(found, given)


def _wrapped(function: Function, use: _Use, wrapper: Function | None, inner: Mapping[str, Function]) -> str | None:
    """Return the parameter that holds the function, empty if the library takes it; None if nothing is handed on."""
    if use.of is None:
        return ""
    parameters = [name for each in (function, *inner.values()) if each is not wrapper for name in _parameters(each)]
    if wrapper is not None:
        names = {ast.unparse(node.value) for node in ast.walk(function) if isinstance(node, ast.Return) and node.value}
        called = {part.id for node in ast.walk(wrapper) for part in _called(node)}
        return next((name for name in parameters if name in called), None) if wrapper.name in names else None
    given = use.of.value if isinstance(use.of, ast.Starred) else use.of
    if isinstance(use.of, ast.Starred):
        vararg = function.args.vararg
        return "" if vararg and isinstance(given, ast.Name) and given.id == vararg.arg else None
    return given.id if isinstance(given, ast.Name) and given.id in parameters else None


def _called(node: ast.AST) -> list[ast.Name]:
    """Return what a call calls, and what it wraps if that is all it does."""
    if not isinstance(node, ast.Call):
        return []
    wraps = isinstance(node.func, (ast.Name, ast.Attribute)) and ast.unparse(node.func).endswith("wraps")
    return [part for part in (node.func, *(node.args if wraps else ())) if isinstance(part, ast.Name)]


def _parameters(function: Function) -> list[str]:
    arguments = function.args
    return [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


def _keeps_name(facts: ModuleFacts, wrapper: Function, makers: TaskMakers) -> bool:
    called = (item.func if isinstance(item, ast.Call) else item for item in wrapper.decorator_list)
    return any(resolve(makers.modules, facts.dotted(item)) in _WRAPS for item in called)
