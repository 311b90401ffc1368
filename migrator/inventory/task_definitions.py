"""Legacy tasks of one file: Dramatiq actors and Celery tasks, however they are declared.

Source: ``dramatiq/actor.py`` (the name is ``actor_name`` or the function's), ``dramatiq/generic.py`` (the name is
``Meta.actor_name`` or the class's), ``celery/app/base.py`` ``gen_task_name`` (module and function, joined by a dot).
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from migrator.inventory.callables import Function, Load, base_class, callee
from migrator.inventory.module_facts import ModuleFacts, resolve
from migrator.wire.message import System

_ACTORS = frozenset({"dramatiq.actor", "dramatiq.actor.actor"})
_GENERIC = frozenset({"dramatiq.GenericActor", "dramatiq.generic.GenericActor"})
_SHARED = frozenset({"celery.shared_task", "celery.app.shared_task", "celery.task", "celery.decorators.task"})
_TASK_CLASSES = frozenset({"celery.Task", "celery.app.task.Task"})
_PARTIAL = frozenset({"functools.partial"})
#: So many classes above each other.
_DEPTH = 10
#: Everything of the two libraries that makes a task of a function or class.
MAKERS = _ACTORS | _GENERIC | _SHARED | _TASK_CLASSES


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyDefinition:
    """One legacy task as its source declares it."""

    system: System
    #: Actor name or registered task name; empty if the source computes it.
    name: str
    #: Dotted import path of the function.
    path: str
    #: Names in positional order, then keyword-only ones; a bound task's ``self`` is left out.
    parameters: tuple[str, ...]
    file: Path
    line: int
    #: True if it takes ``*args`` or ``**kwargs``.
    open_ended: bool = False
    #: False if it is a decorated function and not under ``result_last`` (``migrator/tasks/result_last.py``).
    result_last: bool = True


@dataclass(frozen=True, slots=True)
class _Declaration:
    system: System
    keywords: Mapping[str, ast.expr]


def definitions(
    facts: ModuleFacts, modules: Mapping[str, ModuleFacts], applications: frozenset[str], load: Load
) -> Iterator[LegacyDefinition]:
    """Yield the tasks that one file declares, in its order; ``load`` parses a file that a call leads to."""
    for node in facts.nodes:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for decorator in node.decorator_list:
                declaration = _declaration(decorator, facts, modules, applications)
                if declaration:
                    yield _function_task(node, declaration, facts)
                    break
        elif isinstance(node, ast.ClassDef):
            yield from _generic_actor(node, facts, modules, load)
            yield from _celery_class(node, facts, modules, applications)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            yield from _called(node, facts, modules, applications, load)


def _declaration(
    decorator: ast.expr, facts: ModuleFacts, modules: Mapping[str, ModuleFacts], applications: frozenset[str]
) -> _Declaration | None:
    call = decorator if isinstance(decorator, ast.Call) else None
    target = call.func if call else decorator
    keywords = {kw.arg: kw.value for kw in call.keywords if kw.arg} if call else {}
    dotted = resolve(modules, facts.dotted(target))
    if isinstance(target, ast.Name) and isinstance(facts.values.get(target.id), ast.Call):
        made = facts.values[target.id]
        assert isinstance(made, ast.Call)
        options = {kw.arg: kw.value for kw in made.keywords if kw.arg}
        if facts.dotted(made.func) in _PARTIAL and made.args:
            dotted, keywords = resolve(modules, facts.dotted(made.args[0])), options | keywords
        elif not made.args and resolve(modules, facts.dotted(made.func)) in _ACTORS | _SHARED:
            dotted, keywords = resolve(modules, facts.dotted(made.func)), options
    if dotted in _ACTORS:
        return _Declaration(System.DRAMATIQ, keywords)
    if dotted in _SHARED or _is_application_task(dotted, modules, applications):
        return _Declaration(System.CELERY, keywords)
    return None


def _is_application_task(dotted: str, modules: Mapping[str, ModuleFacts], applications: frozenset[str]) -> bool:
    base, _, attribute = dotted.rpartition(".")
    return attribute == "task" and resolve(modules, base) in applications


def _function_task(node: Function, declaration: _Declaration, facts: ModuleFacts) -> LegacyDefinition:
    parameters, open_ended = _signature(node, declaration)
    return LegacyDefinition(
        system=declaration.system,
        name=_name(node.name, declaration, facts),
        path=f"{facts.name}.{node.name}",
        parameters=parameters,
        file=facts.file,
        line=node.lineno,
        open_ended=open_ended,
        result_last=any(
            facts.dotted(item).rpartition(".")[2].startswith("result_last") for item in node.decorator_list
        ),
    )


def _name(function: str, declaration: _Declaration, facts: ModuleFacts, *, module: str = "") -> str:
    """Return what a task is called; empty if that is computed."""
    key = "actor_name" if declaration.system is System.DRAMATIQ else "name"
    given = declaration.keywords.get(key)
    if given is not None and not (isinstance(given, ast.Constant) and given.value is None):
        return facts.text(given) or ""
    if declaration.system is System.DRAMATIQ or not function:
        return function
    return f"{module or facts.name}.{function}"


def _called(
    node: ast.Assign,
    facts: ModuleFacts,
    modules: Mapping[str, ModuleFacts],
    applications: frozenset[str],
    load: Load,
) -> Iterator[LegacyDefinition]:
    """``send = dramatiq.actor(function)``, ``send = app.task(name=…)(function)``."""
    call = node.value
    assert isinstance(call, ast.Call)
    declaration = _applied(call, facts, modules, applications)
    target = node.targets[0]
    found = callee(facts, call.args[0], load) if declaration is not None else None
    if declaration is None or found is None or not isinstance(target, ast.Name):
        return
    parameters, open_ended = _signature(found.function, declaration, method=found.method)
    yield LegacyDefinition(
        system=declaration.system,
        name=_name(found.name, declaration, facts, module=found.module),
        path=f"{facts.name}.{target.id}",
        parameters=parameters,
        file=facts.file,
        line=node.lineno,
        open_ended=open_ended,
    )


def _applied(
    call: ast.Call, facts: ModuleFacts, modules: Mapping[str, ModuleFacts], applications: frozenset[str]
) -> _Declaration | None:
    """Return how a call makes a task of its first argument; None if it doesn't."""
    if not call.args:
        return None
    declaration = _declaration(call, facts, modules, applications)
    if declaration is None and isinstance(call.func, ast.Call):
        declaration = _declaration(call.func, facts, modules, applications)
    return declaration


def unseen(
    facts: ModuleFacts,
    modules: Mapping[str, ModuleFacts],
    applications: frozenset[str],
    seen: Collection[int],
) -> Iterator[int]:
    """Yield the lines on which a call makes a task of something that :func:`definitions` could not follow.

    Args:
        seen: Lines of the tasks that it found in this file.
    """
    for node in facts.nodes:
        if isinstance(node, ast.Call) and node.lineno not in seen and _applied(node, facts, modules, applications):
            yield node.lineno


def _signature(
    node: Function | None, declaration: _Declaration, *, method: bool = False
) -> tuple[tuple[str, ...], bool]:
    """Return the names of the parameters, without ``self``, and whether there may be others."""
    if node is None:
        return (), True
    parameters = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    bound = declaration.keywords.get("bind")
    task = declaration.system is System.CELERY and isinstance(bound, ast.Constant) and bound.value is True
    parameters = parameters[int(method) + int(task) :] + [argument.arg for argument in node.args.kwonlyargs]
    return tuple(parameters), bool(node.args.vararg or node.args.kwarg)


def _generic_actor(
    node: ast.ClassDef, facts: ModuleFacts, modules: Mapping[str, ModuleFacts], load: Load
) -> Iterator[LegacyDefinition]:
    if not _is_generic(node, facts, modules, load, depth=0):
        return
    meta = next((item for item in node.body if isinstance(item, ast.ClassDef) and item.name == "Meta"), None)
    options = {
        target.id: item.value
        for item in (meta.body if meta else [])
        if isinstance(item, ast.Assign)
        for target in item.targets
        if isinstance(target, ast.Name)
    }
    abstract = options.get("abstract")
    if isinstance(abstract, ast.Constant) and abstract.value:
        return
    given = options.get("actor_name")
    name = node.name if given is None else facts.text(given) or ""
    yield _class_task(node, facts, system=System.DRAMATIQ, name=name, method="perform")


def _class_task(node: ast.ClassDef, facts: ModuleFacts, *, system: System, name: str, method: str) -> LegacyDefinition:
    body = next((item for item in node.body if isinstance(item, Function) and item.name == method), None)
    arguments = [*body.args.posonlyargs, *body.args.args][1:] + body.args.kwonlyargs if body else []
    return LegacyDefinition(
        system=system,
        name=name,
        path=f"{facts.name}.{node.name}",
        parameters=tuple(item.arg for item in arguments),
        file=facts.file,
        line=node.lineno,
        open_ended=body is None or bool(body.args.vararg or body.args.kwarg),
    )


def _celery_class(
    node: ast.ClassDef, facts: ModuleFacts, modules: Mapping[str, ModuleFacts], applications: frozenset[str]
) -> Iterator[LegacyDefinition]:
    """A class with a ``run`` of its own; one without is a base class for others."""
    bases = [resolve(modules, facts.dotted(base)) for base in node.bases]
    own = any(base in _TASK_CLASSES or resolve(modules, base.removesuffix(".Task")) in applications for base in bases)
    if not own or not any(isinstance(item, Function) and item.name == "run" for item in node.body):
        return
    name = f"{facts.name}.{node.name}"
    for item in node.body:
        if isinstance(item, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "name" for t in item.targets):
            name = facts.text(item.value) or ""
    yield _class_task(node, facts, system=System.CELERY, name=name, method="run")


def _is_generic(
    node: ast.ClassDef, facts: ModuleFacts, modules: Mapping[str, ModuleFacts], load: Load, *, depth: int
) -> bool:
    """Tell whether a class descends from ``GenericActor``, also through classes of files that declare no task."""
    for base in node.bases:
        if resolve(modules, facts.dotted(base)) in _GENERIC:
            return True
        found = base_class(facts, base, load)
        if found is not None and depth < _DEPTH and _is_generic(found[1], found[0], modules, load, depth=depth + 1):
            return True
    return False
