"""``work = dramatiq.actor(function, …)`` becomes ``work = shared_task(…)(function)``.

Also ``dramatiq.actor(…)(function)`` and a partial of it, at the top of a module and for actors that the plan maps to
themselves. Source: ``dramatiq/actor.py``, ``celery/app/__init__.py`` ``shared_task``.
"""

from __future__ import annotations

import libcst as cst

from codemods.engine.actor_calls import declaration
from codemods.engine.actor_options import task_options
from codemods.engine.context import FileContext, LeaveError
from codemods.engine.registry import Rewrite
from codemods.engine.scopes import Binding, Kind
from codemods.engine.targets import Target
from codemods.engine.task_support import coroutine_wrapper, keep_comments, note_definition


def rewrite(context: FileContext) -> None:
    """Convert the actors of a file that are made by a call."""
    for name, group in context.tree.module.bindings.items():
        target = context.index.targets.get(f"{context.values.where.module}.{name}")
        if target is None or not target.in_place:
            continue
        for binding in group:
            if binding.kind is Kind.ASSIGN and isinstance(binding.value, cst.Call):
                with context.attempt(binding.value):
                    _convert(context, binding, binding.value, target)


def _convert(context: FileContext, binding: Binding, call: cst.Call, target: Target) -> None:
    found = declaration(context, call)
    wrapped = found.wrapped if found is not None else None
    if found is None and isinstance(call.func, cst.Call) and len(call.args) == 1 and call.args[0].keyword is None:
        found, wrapped = declaration(context, call.func), call.args[0].value
    if found is None:
        return
    if wrapped is None:
        raise LeaveError("ACTOR-OPTION", call, "the function is given by keyword, or not here")
    made = _definition(context, wrapped)
    if made is None:
        raise LeaveError("ACTOR-OPTION", wrapped, "the function is not defined in this file")
    options = task_options(context, target, found.options, call)
    name = context.local_import("celery", "shared_task", found.function)
    function = context.source.code(wrapped)
    if made.asynchronous is not None:
        function = f"{coroutine_wrapper(context)}({function})"
    keep_comments(context, call, binding.node)
    context.replace(call, f"{name}({', '.join(options)})({function})")
    note_definition(context, binding.node, target.path)


def _definition(context: FileContext, node: cst.BaseExpression) -> cst.FunctionDef | None:
    """Return the function of this file that a name stands for; it may be given the name of the actor again."""
    if not isinstance(node, cst.Name):
        return None
    found = [b.node for b in context.tree.module.bindings.get(node.value, []) if b.kind is Kind.DEFINITION]
    return found[0] if len(found) == 1 and isinstance(found[0], cst.FunctionDef) else None


REWRITE = Rewrite(name="called_actors", whole_file=rewrite, defines=True)
