"""``broker.enqueue(actor.message(…))`` is what ``actor.send(…)`` does.

Source: ``dramatiq/actor.py`` (``send_with_options``), ``dramatiq/broker.py`` (``enqueue``, ``get_broker``).
"""

from __future__ import annotations

import ast

import libcst as cst

from codemods.calls.results import follow_message
from codemods.editing.context import FileContext, LeaveError, Use
from codemods.syntax.scopes import BindingKind
from migrator.inventory.callables import loading

_GETTERS = frozenset({"dramatiq.get_broker", "dramatiq.broker.get_broker"})


def enqueued(context: FileContext, use: Use) -> bool:
    """Make a send of a message that is enqueued where it is made: the broker's call around it goes.

    Returns:
        False, and nothing changed, if it isn't.

    Raises:
        LeaveError: It is enqueued with more than the message.
    """
    arg = context.parent(use.call) if use.call is not None else None
    call = context.parent(arg) if isinstance(arg, cst.Arg) else None
    method = call.func if isinstance(call, cst.Call) else None
    if not isinstance(call, cst.Call) or not isinstance(method, cst.Attribute) or method.attr.value != "enqueue":
        return False
    if not _is_broker(context, method.value):
        return False
    if len(call.args) != 1:
        raise LeaveError("PIPELINE", call, "enqueue has more than a message: write .apply_async(…, countdown=…)")
    assert use.call is not None
    follow_message(context, call)
    outer, inner = context.source.bare_span(call), context.source.bare_span(use.call)
    context.replace_span(outer[0], inner[0], "")
    context.replace_span(inner[1], outer[1], "")
    getter = method.value.func if isinstance(method.value, cst.Call) else None
    if getter is not None:
        context.result.replaced.append(getter)
    return True


def _is_broker(context: FileContext, node: cst.BaseExpression) -> bool:
    """Tell whether an expression is a broker of Dramatiq: asked for, or made by a module."""
    if isinstance(node, cst.Call):
        return context.values.only(node.func) in _GETTERS or _makes_broker(context.values.only(node.func))
    found = context.values.bindings(node) if isinstance(node, cst.Name) else ()
    if len(found) == 1 and found[0].kind is BindingKind.ASSIGN and isinstance(found[0].value, cst.Call):
        return _is_broker(context, found[0].value)
    module, _, name = context.values.only(node).rpartition(".")
    facts = loading(context.index.root, {})(module)
    value = facts.values.get(name) if facts is not None else None
    if facts is None or not isinstance(value, ast.Call):
        return False
    made = facts.dotted(value.func)
    return made in _GETTERS or _makes_broker(made)


def _makes_broker(path: str) -> bool:
    return path.startswith("dramatiq.brokers.") and path.endswith("Broker")
