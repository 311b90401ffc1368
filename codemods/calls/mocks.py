"""The mock that a patch creates, and the assertions that read its arguments.

Source: ``unittest/mock.py``: ``patch`` as a context manager, a decorator (innermost first) or with ``start()``.
"""

from __future__ import annotations

import libcst as cst

from codemods.calls.arguments import adapt_arguments
from codemods.calls.call_args import CALL, compared_calls, rewrite_reads
from codemods.editing.context import FileContext, Use
from codemods.plan.plan_index import Target
from migrator.wire.message import System

_ASSERTIONS = frozenset({"assert_called_with", "assert_called_once_with", "assert_any_call", "assert_has_calls"})
_READERS = frozenset({"call_args", "call_args_list", "mock_calls", "await_args"})
#: Methods whose assertion holds options instead of the task's own arguments.
OPTION_METHODS = frozenset({"send_with_options", "apply_async"})


def mock_names(context: FileContext, call: cst.Call) -> list[cst.Name | cst.Param]:
    """Return the names that hold the mock which ``call`` creates."""
    parent = context.parent(call)
    if isinstance(parent, cst.WithItem) and parent.asname and isinstance(parent.asname.name, cst.Name):
        return [parent.asname.name]
    if isinstance(parent, (cst.Assign, cst.AnnAssign)):
        targets = [t.target for t in parent.targets] if isinstance(parent, cst.Assign) else [parent.target]
        return [target for target in targets if isinstance(target, cst.Name)]
    if isinstance(parent, cst.Decorator):
        return _decorated(context, parent, call)
    return []


def _decorated(context: FileContext, decorator: cst.Decorator, call: cst.Call) -> list[cst.Name | cst.Param]:
    function = context.parent(decorator)
    if not isinstance(function, cst.FunctionDef) or _has_new(call):
        return []
    patches = [
        d
        for d in reversed(function.decorators)
        if isinstance(d.decorator, cst.Call) and _is_patch(context, d.decorator) and not _has_new(d.decorator)
    ]
    position = patches.index(decorator)
    params = [p for p in function.params.params if p.name.value not in {"self", "cls"}]
    return [params[position]] if position < len(params) else []


def _is_patch(context: FileContext, call: cst.Call) -> bool:
    path = context.values.only(call.func)
    return path in {"unittest.mock.patch", "unittest.mock.patch.object", "mock.patch", "mock.patch.object"}


def _has_new(call: cst.Call) -> bool:
    is_object = isinstance(call.func, cst.Attribute) and call.func.attr.value == "object"
    plain = [arg for arg in call.args if arg.keyword is None]
    return len(plain) > (2 if is_object else 1) or any(a.keyword and a.keyword.value == "new" for a in call.args)


def rewrite_assertions(context: FileContext, name: cst.Name | cst.Param, target: Target, method: str) -> None:
    """Rewrite the assertions that read a mock's arguments; list what can't be followed.

    Raises:
        LeaveError: An assertion's arguments can't be followed.
    """
    for load in context.tree.reads_of(name):
        parent = context.parent(load)
        inner = method
        while isinstance(parent, cst.Attribute) and parent.attr.value in OPTION_METHODS | {
            "send",
            "delay",
            "return_value",
        }:
            if parent.attr.value == "return_value":
                _returned(context, parent, target)
                parent = None
                break
            inner = parent.attr.value
            if target.system is System.DRAMATIQ:
                context.replace(parent.attr, {"send": "delay", "send_with_options": "apply_async"}.get(inner, inner))
            parent = context.parent(parent)
        if not isinstance(parent, cst.Attribute):
            continue
        if parent.attr.value in _ASSERTIONS:
            _assertion(context, parent, target, inner)
        elif parent.attr.value in _READERS and (target.operations or inner == "send_with_options"):
            _read(context, parent, target, inner)


def _read(context: FileContext, node: cst.Attribute, target: Target, method: str) -> None:
    """Rewrite what is read from recorded calls, or list it."""
    compared = compared_calls(context, node)
    for call in compared:
        _arguments(context, call, target, method)
    if not compared and (method in OPTION_METHODS or not rewrite_reads(context, node, target)):
        context.leave(node, "FORWARDED")


def _returned(context: FileContext, node: cst.Attribute, target: Target) -> None:
    parent = context.parent(node)
    if target.system is System.DRAMATIQ and isinstance(parent, cst.Attribute) and parent.attr.value == "message_id":
        context.replace(parent.attr, "id")


def _assertion(context: FileContext, node: cst.Attribute, target: Target, method: str) -> None:
    call = context.parent(node)
    if not isinstance(call, cst.Call):
        return
    if node.attr.value == "assert_has_calls":
        elements = context.values.items(call.args[0].value) if call.args else []
        inner = [item for item in elements if isinstance(item, cst.Call) and context.values.only(item.func) in CALL]
        for item in inner:
            _arguments(context, item, target, method)
        return
    _arguments(context, call, target, method)


def _arguments(context: FileContext, call: cst.Call, target: Target, method: str) -> None:
    from codemods.calls.send_options import adapt_options, convert_options

    if method not in OPTION_METHODS:
        adapt_arguments(context, call, (target,))
    elif target.system is System.DRAMATIQ:
        convert_options(context, call, Use(node=call.func, targets=(target,), call=call))
    else:
        adapt_options(context, call, Use(node=call.func, targets=(target,), call=call))
