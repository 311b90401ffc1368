"""``CurrentMessage.get_current_message()`` in an actor becomes ``task.request``, with the attributes that it has.

Direct, or through a variable of which only such attributes are read; a direct call has a request too, so a question
whether there is a message can't be kept.
Source: ``dramatiq/middleware/current_message.py``, ``dramatiq/message.py``, ``celery/app/task.py`` (``KindContext``).
"""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from codemods.calls.task_bodies import own_task
from codemods.editing.context import FileContext, LeaveError
from codemods.protocol import Rewrite
from codemods.resolve.name_resolution import text_of

CODE = "CURRENT-MESSAGE"
_GETTER = "CurrentMessage.get_current_message"
_SAME = {"message_id": "id", "args": "args", "kwargs": "kwargs", "actor_name": "task"}


def rewrite(context: FileContext) -> None:
    """Rewrite what reads the current message."""
    for call in context.tree.calls:
        path = context.values.only(call.func)
        if path.startswith("dramatiq.") and path.endswith(_GETTER):
            with context.attempt(call):
                name, _, _ = own_task(context, call, CODE)
                for node in _readers(context, call):
                    _attribute(context, node)
                context.replace(call, f"{name}.request")
                context.result.replaced.append(call.func)


def _readers(context: FileContext, call: cst.Call) -> Iterator[cst.Attribute]:
    """Yield every attribute that is read from a message.

    Raises:
        LeaveError: Something else is done with it.
    """
    parent = context.parent(call)
    if isinstance(parent, cst.Attribute) and parent.value is call:
        yield parent
        return
    target = parent.targets[0].target if isinstance(parent, cst.Assign) and len(parent.targets) == 1 else None
    if isinstance(parent, cst.NamedExpr):
        target = None
    if not isinstance(target, cst.Name):
        raise LeaveError(CODE, call, "what is done with it can't be followed")
    for load in context.tree.reads_of(target):
        attribute = context.parent(load)
        if (
            len(context.values.bindings(load)) != 1
            or not isinstance(attribute, cst.Attribute)
            or attribute.value is not load
        ):
            raise LeaveError(CODE, load, "more is done with it than reading its attributes")
        yield attribute


def _attribute(context: FileContext, node: cst.Attribute) -> None:
    name = node.attr.value
    if name in _SAME:
        if isinstance(context.parent(node), (cst.AssignTarget, cst.AugAssign, cst.Del)):
            raise LeaveError(CODE, node, f"{name} is given another value")
        context.replace(node.attr, _SAME[name])
    elif name == "queue_name":
        context.replace(node.attr, 'delivery_info["routing_key"]')
    elif name == "options":
        _options(context, node)
    else:
        raise LeaveError(CODE, node, f"{name} has no equal")


def _options(context: FileContext, node: cst.Attribute) -> None:
    """``options.get("retries", 0)`` and ``options.get("retries") or 0`` are the request's ``retries``."""
    method = context.parent(node)
    call = context.parent(method) if isinstance(method, cst.Attribute) and method.attr.value == "get" else None
    if not isinstance(call, cst.Call) or not call.args or text_of(call.args[0].value) != "retries":
        raise LeaveError(CODE, node, "only its options.get('retries', 0) has an equal")
    fallback = call.args[1].value if len(call.args) > 1 else None
    above = context.parent(call)
    if fallback is None and isinstance(above, cst.BooleanOperation) and isinstance(above.operator, cst.Or):
        fallback = above.right if above.left is call else None
    if not isinstance(fallback, cst.Integer) or fallback.value != "0":
        raise LeaveError(CODE, node, "options.get('retries') is None at first, request.retries is 0")
    context.replace_span(context.source.span(node.attr)[0], context.source.bare_span(call)[1], "retries")


REWRITE = Rewrite(name="request_attributes", whole_file=rewrite)
