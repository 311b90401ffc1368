"""What is done with the value of a send: ``message.message_id`` becomes ``result.id``, followed through one assignment.

Source: ``dramatiq/message.py`` (``Message.message_id``, ``get_result`` in milliseconds), ``dramatiq/composition.py``
(``group.get_results``, ``wait``, ``completed``), ``celery/result.py`` (``AsyncResult.id``, ``get`` in seconds).
"""

from __future__ import annotations

import libcst as cst

from codemods.calls.collected import COMPREHENSIONS, collected
from codemods.editing.context import FileContext, LeaveError
from codemods.editing.units import seconds

_HANDED_ON = (cst.Arg, cst.Element, cst.DictElement, cst.Return, cst.Yield, cst.StarredElement)


def follow_message(context: FileContext, call: cst.Call, *, group: bool = False) -> None:
    """Rewrite what reads the value of ``call``: a send, or a composition that is run.

    Args:
        context: The file.
        call: The send.
        group: True if it is a group that is run: what is read is a ``GroupResult``.

    Raises:
        LeaveError: Something is read from it that has no equal.
    """
    parent = context.parent(call)
    if isinstance(parent, cst.Await):
        _awaited(context, parent)
        parent = context.parent(parent)
    if isinstance(parent, cst.Attribute) and parent.value is call:
        _attribute(context, parent, group=group)
    elif isinstance(parent, (cst.Assign, cst.AnnAssign, cst.NamedExpr)):
        _assigned(context, parent, group=group)
    elif isinstance(parent, (*_HANDED_ON, *COMPREHENSIONS)):
        for load in collected(context, call):
            _attribute(context, load, group=group)


def _awaited(context: FileContext, node: cst.Await) -> None:
    """Remove the await of ``await actor.send()``, which raised a TypeError."""
    context.leave(node, "AWAITED-SEND")
    start = context.source.bare_span(node)[0]
    context.replace_span(start, context.source.span(node.expression)[0], "")


def _assigned(context: FileContext, node: cst.Assign | cst.AnnAssign | cst.NamedExpr, *, group: bool) -> None:
    targets = [t.target for t in node.targets] if isinstance(node, cst.Assign) else [node.target]
    if len(targets) != 1 or not isinstance(targets[0], cst.Name):
        context.leave(node, "RESULT-ESCAPES")
        return
    name = targets[0]
    for load in context.tree.reads_of(name):
        found = context.values.bindings(load)
        parent = context.parent(load)
        if isinstance(parent, cst.Attribute) and parent.value is load:
            if len(found) > 1 and not all(_is_send(context, binding.value) for binding in found):
                if parent.attr.value in {"message_id", "get_result", "asdict", "options", "copy"}:
                    raise LeaveError("MESSAGE-ATTRIBUTE", parent, "may be another value")
                continue
            _attribute(context, parent, group=group)
        elif isinstance(parent, _HANDED_ON):
            context.leave(load, "RESULT-ESCAPES")


def _is_send(context: FileContext, value: cst.BaseExpression | None) -> bool:
    """True for a send of a legacy task, ``None`` included."""
    if isinstance(value, cst.Name) and value.value == "None":
        return True
    return value is not None and context.uses.of_call(value) is not None


def _attribute(context: FileContext, node: cst.Attribute, *, group: bool) -> None:
    name = node.attr.value
    if context.result.edits.starts_at(context.source.span(node.attr)[0]):
        return  # through another send, which the same name holds
    if group:
        _group_attribute(context, node)
    elif name == "message_id":
        context.result.edits.replace(context.source.span(node.attr), "id", context.result.rewrite_name)
    elif name == "get_result":
        call = context.parent(node)
        if not isinstance(call, cst.Call):
            raise LeaveError("MESSAGE-ATTRIBUTE", node, name)
        get_result(context, node, call)
    else:
        raise LeaveError("MESSAGE-ATTRIBUTE", node, name)


def _group_attribute(context: FileContext, node: cst.Attribute) -> None:
    """Rewrite what is read from a group that was run.

    Raises:
        LeaveError: It has no equal.
    """
    name, call = node.attr.value, context.parent(node)
    if name in {"completed", "completed_count"}:
        context.replace(node.attr, "ready()" if name == "completed" else "completed_count()")
    elif name == "get_results" and isinstance(call, cst.Call):
        get_result(context, node, call)
    elif name == "wait" and isinstance(call, cst.Call) and len(call.args) == 1 and call.args[0].keyword is not None:
        context.replace(node.attr, "get")
        context.replace(call.args[0].value, seconds(context, call.args[0].value, timedelta_allowed=False))
    else:
        raise LeaveError("MESSAGE-ATTRIBUTE", node, name)


def get_result(context: FileContext, node: cst.Attribute, call: cst.Call) -> None:
    """Rewrite ``.get_result(block=True, timeout=…)`` as ``.get(timeout=…)``.

    Raises:
        LeaveError: It doesn't block, or its options can't be followed.
    """
    given = {arg.keyword.value: arg for arg in call.args if arg.keyword}
    block = given.get("block")
    if block is None or not isinstance(block.value, cst.Name) or block.value.value != "True":
        raise LeaveError("RESULT-MISSING", call)
    if set(given) - {"block", "timeout"} or len(given) != len(call.args):
        raise LeaveError("MESSAGE-ATTRIBUTE", call, "get_result")
    timeout = given.get("timeout")
    text = f"timeout={seconds(context, timeout.value, timedelta_allowed=False)}" if timeout else "timeout=10"
    context.replace(node.attr, "get")
    start = context.source.span(call.args[0])[0]
    context.replace_span(start, context.source.bare_span(call)[1] - 1, text)
