"""``work = dramatiq.actor(function, …)`` becomes ``work = shared_task(…)(function)``.

Also ``dramatiq.actor(…)(function)`` and a partial of it, at the top of a module and for actors that the plan maps to
themselves; the function may be one of another file. Source: ``dramatiq/actor.py``, ``celery/app/__init__.py``.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

import libcst as cst

from codemods.calls.actor_calls import declaration
from codemods.calls.actor_options import task_options
from codemods.calls.task_support import (
    coroutine_wrapper,
    keep_comments,
    note_definition,
    object_wrapper,
    result_last_wrapper,
)
from codemods.editing.context import FileContext, LeaveError
from codemods.plan.plan_index import Target
from codemods.protocol import Rewrite
from codemods.syntax.scopes import Binding, BindingKind
from migrator.inventory.callables import Load, callee, loading


def rewrite(context: FileContext) -> None:
    """Convert the actors of a file that are made by a call."""
    load = loading(context.index.root, {})  # parses this file and others once, and only if it is asked
    for name, group in context.tree.module.bindings.items():
        target = context.index.targets.get(f"{context.values.where.module}.{name}")
        if target is None or not target.in_place:
            continue
        for binding in group:
            if binding.kind is BindingKind.ASSIGN and isinstance(binding.value, cst.Call):
                with context.attempt(binding.value):
                    _convert(context, binding, binding.value, target, load)


def _convert(context: FileContext, binding: Binding, call: cst.Call, target: Target, load: Load) -> None:
    found = declaration(context, call)
    wrapped = found.wrapped if found is not None else None
    if found is None and isinstance(call.func, cst.Call) and len(call.args) == 1 and call.args[0].keyword is None:
        found, wrapped = declaration(context, call.func), call.args[0].value
    if found is None:
        return
    if wrapped is None:
        raise LeaveError("ACTOR-OPTION", call, "the function is given by keyword, or not here")
    wrap = _wrapper(context, wrapped, load)
    if wrap is None:
        raise LeaveError("ACTOR-OPTION", wrapped, "it is made of nothing in this project, or of something decorated")
    options = task_options(context, target, found.options, call)
    name = context.local_import("celery", "shared_task", found.function)
    function = wrap(context.source.code(wrapped))
    if target.result_last:
        function = f"{result_last_wrapper(context)}({function})"
    keep_comments(context, call, binding.node)
    context.replace(call, f"{name}({', '.join(options)})({function})")
    note_definition(context, binding.node, target.path)


def _wrapper(context: FileContext, node: cst.BaseExpression, load: Load) -> Callable[[str], str] | None:
    """Return what makes a plain function of an expression's text; None if it is not known what it stands for.

    It is a function of this file or another, or a new object of a class that has a ``__call__``.
    """
    if isinstance(node, cst.Name):  # it may be given the name of the actor again
        found = [b.node for b in context.tree.module.bindings.get(node.value, []) if b.kind is BindingKind.DEFINITION]
        if found:
            own = found[0] if len(found) == 1 and isinstance(found[0], cst.FunctionDef) else None
            return None if own is None else _wrapping(context, coroutine=own.asynchronous is not None, method=False)
    if not isinstance(node, (cst.Name, cst.Attribute, cst.Call)):
        return None
    facts = load(context.values.where.module)
    expression = ast.parse(context.source.code(node), mode="eval").body
    given = callee(facts, expression, load) if facts is not None else None
    if given is None or given.function is None or given.function.decorator_list:
        return None
    return _wrapping(context, coroutine=isinstance(given.function, ast.AsyncFunctionDef), method=given.method)


def _wrapping(context: FileContext, *, coroutine: bool, method: bool) -> Callable[[str], str]:
    if coroutine:
        return lambda text: f"{coroutine_wrapper(context)}({text}{'.__call__' if method else ''})"
    return (lambda text: f"{object_wrapper(context)}({text})") if method else str


REWRITE = Rewrite(name="called_actors", whole_file=rewrite, defines=True)
