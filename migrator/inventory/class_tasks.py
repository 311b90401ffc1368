"""Classes that are tasks: generic actors of Dramatiq, and classes of Celery with a ``run``.

Source: ``dramatiq/generic.py`` (the name is ``Meta.actor_name`` or the class's), ``celery/app/base.py``
(``register_task``; older Celery registers every class that is not abstract).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from migrator.inventory.callables import Load, attribute, project_class
from migrator.inventory.declarations import GENERIC, TASK_CLASSES, TaskMakers
from migrator.inventory.module_facts import Function, ModuleFacts, resolve
from migrator.wire.message import System

_DEPTH = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassTask:
    """What a class is as a task."""

    system: System
    #: Empty if it is computed.
    name: str
    #: The name that callers import: of the class, or of the object that is registered.
    attribute: str
    #: The method that runs, if it is known.
    body: Function | None


def class_task(
    node: ast.ClassDef, facts: ModuleFacts, makers: TaskMakers, load: Load, registered: Mapping[str, str]
) -> ClassTask | None:
    """Return what a class is as a task; None if it is none.

    Args:
        node: The class.
        facts: Its module.
        makers: What makes a task in the project.
        load: Parses files that are not read yet.
        registered: From :func:`registered_classes`.
    """
    if not node.bases:
        return None
    if _descends(node, facts, load, lambda base, owner: resolve(makers.modules, owner.dotted(base)) in GENERIC):
        return _generic_actor(node, facts, load)
    if _descends(node, facts, load, lambda base, owner: is_task_class(base, owner, makers)):
        return _celery_class(node, facts, load, registered)
    return None


def registered_classes(facts: ModuleFacts, makers: TaskMakers) -> dict[str, str]:
    """Return the classes that a module registers, by dotted name, and the name that it gives the task."""
    found: dict[str, str] = {}
    for node in facts.nodes:
        call = node.value if isinstance(node, ast.Assign) else node
        cls = registration(call, facts, makers) if isinstance(call, ast.Call) else None
        if cls is None:
            continue
        path = resolve(makers.modules, facts.dotted(cls))
        named = [target.id for target in getattr(node, "targets", ()) if isinstance(target, ast.Name)]
        found[path] = found.get(path) or "".join(named[:1])
    return found


def registration(call: ast.Call, facts: ModuleFacts, makers: TaskMakers) -> ast.expr | None:
    """Return the class in ``app.register_task(Class())`` or ``app.tasks.register(Class())``; None for other calls."""
    method = call.func
    if not isinstance(method, ast.Attribute) or not call.args or method.attr not in {"register_task", "register"}:
        return None
    receiver: ast.expr = method.value
    if method.attr == "register":
        if not isinstance(receiver, ast.Attribute) or receiver.attr != "tasks":
            return None
        receiver = receiver.value
    if not makers.applications.is_one(facts, receiver, makers.modules):
        return None
    given = call.args[0]
    return given.func if isinstance(given, ast.Call) else given


def is_task_class(base: ast.expr, facts: ModuleFacts, makers: TaskMakers) -> bool:
    """Tell whether an expression is Celery's base class of tasks."""
    dotted = resolve(makers.modules, facts.dotted(base))
    owner, _, name = dotted.rpartition(".")
    if dotted in TASK_CLASSES or (name == "Task" and resolve(makers.modules, owner) in makers.applications.names):
        return True
    if not isinstance(base, ast.Attribute) or base.attr != "Task":
        return False
    return makers.applications.is_one(facts, base.value, makers.modules)


def _descends(
    node: ast.ClassDef, facts: ModuleFacts, load: Load, wanted: Callable[[ast.expr, ModuleFacts], bool], depth: int = 0
) -> bool:
    """Tell whether a class has a base that is wanted, also through classes of files that declare no task."""
    for base in node.bases:
        if wanted(base, facts):
            return True
        found = project_class(facts, base, load)
        if found is not None and depth < _DEPTH and _descends(found[1], found[0], load, wanted, depth + 1):
            return True
    return False


def _generic_actor(node: ast.ClassDef, facts: ModuleFacts, load: Load) -> ClassTask | None:
    meta = next((item for item in node.body if isinstance(item, ast.ClassDef) and item.name == "Meta"), None)
    options = {
        target.id: item.value
        for item in (meta.body if meta else [])
        if isinstance(item, ast.Assign)
        for target in item.targets
        if isinstance(target, ast.Name)
    }
    if _is_true(options.get("abstract")):
        return None
    given = options.get("actor_name")
    name = node.name if given is None else facts.text(given) or ""
    body = attribute(facts, node, "perform", load)
    return ClassTask(
        system=System.DRAMATIQ,
        name=name,
        attribute=node.name,
        body=body if isinstance(body, Function) else None,
    )


def _celery_class(
    node: ast.ClassDef, facts: ModuleFacts, load: Load, registered: Mapping[str, str]
) -> ClassTask | None:
    """A class with a ``run`` of its own, or one that is registered; one without is a base class for others."""
    path = f"{facts.name}.{node.name}"
    own = any(isinstance(item, Function) and item.name == "run" for item in node.body)
    body = attribute(facts, node, "run", load)
    if not own and path not in registered:
        return None
    if any(_sets(item, "abstract") and _is_true(getattr(item, "value", None)) for item in node.body):
        return None
    given = attribute(facts, node, "name", load)
    return ClassTask(
        system=System.CELERY,
        name=(facts.text(given) or "") if isinstance(given, ast.expr) else path,
        attribute=registered.get(path) or node.name,
        body=body if isinstance(body, Function) else None,
    )


def _sets(item: ast.stmt, name: str) -> bool:
    return isinstance(item, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in item.targets)


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and bool(node.value)
