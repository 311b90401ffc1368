"""Legacy tasks of one file: Dramatiq actors and Celery tasks, however they are declared.

How a decorator, a call or a class makes one is in :mod:`migrator.inventory.declarations` and
:mod:`migrator.inventory.class_tasks`; what can't be followed, in :mod:`migrator.inventory.unfollowed`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from migrator.inventory.callables import Load, callee
from migrator.inventory.class_tasks import ClassTask, class_task, registered_classes
from migrator.inventory.declarations import (
    NamedFunction,
    TaskDeclaration,
    TaskMakers,
    applied_to,
    declaration,
    decorators,
    task_name,
)
from migrator.inventory.module_facts import Function, ModuleFacts
from migrator.inventory.named_texts import following
from migrator.wire.message import System


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
    #: Decorators of the project itself that make it, as file, line and dotted path.
    made_by: frozenset[tuple[Path, int, str]] = frozenset()


def definitions(facts: ModuleFacts, makers: TaskMakers, load: Load) -> Iterator[LegacyDefinition]:
    """Yield the tasks that one file declares, in its order; ``load`` parses a file that a call leads to."""
    facts = following(facts, load)
    inside = of_decorators(facts, makers)
    registered = registered_classes(facts, makers)
    for node in facts.nodes:
        if id(node) in inside:
            continue
        if isinstance(node, Function):
            for decorator in node.decorator_list:
                found = declaration(decorator, facts, makers)
                if found:
                    yield _function_task(node, found, facts)
                    break
        elif isinstance(node, ast.ClassDef):
            found_class = class_task(node, facts, makers, load, registered)
            if found_class is not None:
                yield _class_definition(node, found_class, facts)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Call):
            yield from _called(node, node.value, facts, makers, load)


def of_decorators(facts: ModuleFacts, makers: TaskMakers) -> frozenset[int]:
    """Return the nodes of the decorators that a module defines: what they do is found where they are used."""
    own = {id(item.function): item.function for item in makers.decorators.values() if item.facts.name == facts.name}
    return frozenset(id(node) for function in own.values() for node in ast.walk(function))


def _function_task(node: Function, found: TaskDeclaration, facts: ModuleFacts) -> LegacyDefinition:
    task = _made_of(node, found, facts, subject=NamedFunction(name=node.name, module=facts.name), attribute=node.name)
    last = any(facts.dotted(item).rpartition(".")[2].startswith("result_last") for item in node.decorator_list)
    return replace(task, result_last=last)


def _made_of(
    node: Function | None,
    found: TaskDeclaration,
    facts: ModuleFacts,
    *,
    subject: NamedFunction,
    attribute: str,
    method: bool = False,
) -> LegacyDefinition:
    parameters = _signature(node, found, method=method)
    return LegacyDefinition(
        system=found.system,
        name=task_name(found, facts, subject),
        path=f"{facts.name}.{attribute}",
        parameters=parameters or (),
        file=facts.file,
        line=node.lineno if node else 0,
        open_ended=parameters is None or any(name.startswith("*") for name in parameters),
        made_by=frozenset(decorators(found)),
    )


def _class_definition(node: ast.ClassDef, found: ClassTask, facts: ModuleFacts) -> LegacyDefinition:
    return LegacyDefinition(
        system=found.system,
        name=found.name,
        path=f"{facts.name}.{found.attribute}",
        parameters=_parameters(found.body.args, without=1) if found.body else (),
        file=facts.file,
        line=node.lineno,
        open_ended=found.body is None or bool(found.body.args.vararg or found.body.args.kwarg),
    )


def _called(
    node: ast.Assign | ast.AnnAssign, call: ast.Call, facts: ModuleFacts, makers: TaskMakers, load: Load
) -> Iterator[LegacyDefinition]:
    """``send = dramatiq.actor(function)``, ``send = app.task(name=…)(function)``."""
    made = applied(call, facts, makers)
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    if made is None or not isinstance(target, ast.Name):
        return
    found = callee(facts, made[1], load)
    if found is not None:
        subject = NamedFunction(name=found.name, module=found.module)
        task = _made_of(found.function, made[0], facts, subject=subject, attribute=target.id, method=found.method)
        yield replace(task, line=node.lineno)


def applied(call: ast.Call, facts: ModuleFacts, makers: TaskMakers) -> tuple[TaskDeclaration, ast.expr] | None:
    """Return how a call makes a task, and of what; None if it doesn't."""
    found = declaration(call, facts, makers)
    given = applied_to(call, found) if found is not None else None
    if found is not None and given is not None:
        return found, given
    if isinstance(call.func, ast.Call) and call.args:
        found = declaration(call.func, facts, makers)
        if found is not None and applied_to(call.func, found) is None:
            return found, call.args[0]
    return None


def _signature(node: Function | None, found: TaskDeclaration, *, method: bool = False) -> tuple[str, ...] | None:
    """Return the names of the parameters as a plan writes them, without ``self``; None if they can't be known."""
    wrapper = found.through.wrapper if found.through is not None else None
    if wrapper is not None and _named(wrapper.args) - {"self"}:
        node, method = wrapper, False
    elif node is None:
        return None
    bound = found.keywords.get("bind")
    task = found.system is System.CELERY and isinstance(bound, ast.Constant) and bound.value is True
    if task and wrapper is not None and node is not wrapper:
        task = [argument.arg for argument in node.args.args[:1]] == ["self"]  # else the wrapper keeps the task itself
    return _parameters(node.args, without=int(method) + int(task))


def _named(arguments: ast.arguments) -> set[str]:
    return {argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}


def _parameters(arguments: ast.arguments, *, without: int) -> tuple[str, ...]:
    found = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)][without:]
    found += ["*args"] if arguments.vararg else []
    found += [argument.arg for argument in arguments.kwonlyargs]
    return (*found, *(["**kwargs"] if arguments.kwarg else []))
