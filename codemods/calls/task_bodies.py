"""The body of a converted actor: under which name it can refer to its own task.

``task.retry`` and ``task.request`` concern the message that this thread runs, so the module's own name for the task is
enough, and no parameter has to be added.
Source: ``celery/app/task.py`` (``Task.request``, ``retry``).
"""

from __future__ import annotations

import libcst as cst

from codemods.calls.actor_calls import Declaration, declaration
from codemods.editing.context import FileContext, LeaveError
from codemods.resolve.name_resolution import enclosing, scope_of


def own_task(context: FileContext, node: cst.CSTNode, code: str) -> tuple[str, cst.FunctionDef, Declaration]:
    """Return the name of the task whose body a node stands in, its function, and how it was declared.

    Raises:
        LeaveError: With that code; it stands elsewhere, or the name means something else there.
    """
    function = _outermost(context, node)
    if function is None or isinstance(context.parent(function), cst.IndentedBlock):
        raise LeaveError(code, node, "not in the body of an actor: celery.current_task is the task that runs")
    name = function.name.value
    if f"{context.values.where.module}.{name}" not in context.result.converted:
        raise LeaveError(code, node, f"{name} is not converted here")
    if function.asynchronous is not None:
        raise LeaveError(code, node, "in a coroutine, which may run in another thread than its task")
    found = next((d for item in function.decorators if (d := declaration(context, item.decorator)) is not None), None)
    first = declaration(context, function.decorators[0].decorator) if function.decorators else None
    if found is None or first is None:
        raise LeaveError(code, node, "the task stands under another decorator")
    bindings = scope_of(context.tree, node).lookup(name)
    if len(bindings) != 1 or bindings[0].node is not function:
        raise LeaveError(code, node, f"the name {name} means something else here too")
    return name, function, found


def _outermost(context: FileContext, node: cst.CSTNode) -> cst.FunctionDef | None:
    found = None
    here = enclosing(context.tree, node, (cst.FunctionDef, cst.ClassDef))
    while here is not None:
        found, here = here, enclosing(context.tree, here, (cst.FunctionDef, cst.ClassDef))
    return found if isinstance(found, cst.FunctionDef) else None
