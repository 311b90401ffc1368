"""The mock that a patch creates, and the assertions that read its arguments.

Source: ``unittest/mock.py``: ``patch`` as a context manager, a decorator (innermost first) or with ``start()``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import libcst as cst

from codemods.calls.arguments import adapt_arguments
from codemods.calls.call_args import CALL, compared_calls, rewrite_reads
from codemods.editing.context import FileContext, Use
from codemods.plan.plan_index import Target
from codemods.resolve.name_resolution import enclosing
from codemods.syntax.scopes import descendants
from migrator.wire.message import System

_ASSERTIONS = frozenset({"assert_called_with", "assert_called_once_with", "assert_any_call", "assert_has_calls"})
_READERS = frozenset({"call_args", "call_args_list", "mock_calls", "await_args"})
#: Methods whose assertion holds options instead of the task's own arguments.
OPTION_METHODS = frozenset({"send_with_options", "apply_async"})


def mock_reads(context: FileContext, call: cst.Call) -> list[cst.BaseExpression]:
    """Return where the mock that ``call`` creates is read: by a name, or by an attribute such as ``self.send``."""
    parent = context.parent(call)
    if isinstance(parent, cst.Decorator):
        return [read for param in _decorated(context, parent, call) for read in context.tree.reads_of(param)]
    if isinstance(parent, cst.Attribute):
        return _started(context, call)
    held = _held(context, call)
    # What unittest's patch returns is the patcher; pytest-mock's returns the mock.
    return [*held, *(read for patcher in held for read in _started(context, patcher))]


def _started(context: FileContext, patcher: cst.BaseExpression) -> list[cst.BaseExpression]:
    """Return where the mock of ``patcher.start()``, or of ``with patcher as mock``, is read."""
    parent = context.parent(patcher)
    if isinstance(parent, cst.WithItem):
        return _held(context, patcher)
    started = context.parent(parent) if isinstance(parent, cst.Attribute) and parent.attr.value == "start" else None
    return _held(context, started) if isinstance(started, cst.Call) else []


def _held(context: FileContext, value: cst.BaseExpression) -> list[cst.BaseExpression]:
    """Return where a value is read that is given a name or is kept in an attribute of ``self`` or a class."""
    parent = context.parent(value)
    targets: list[cst.BaseExpression] = []
    if isinstance(parent, cst.WithItem) and parent.asname:
        targets = [parent.asname.name]
    elif isinstance(parent, cst.Assign):
        targets = [target.target for target in parent.targets]
    elif isinstance(parent, (cst.AnnAssign, cst.NamedExpr)):
        targets = [parent.target]
    found: list[cst.BaseExpression] = []
    for target in targets:
        if isinstance(target, cst.Name):
            found += context.tree.reads_of(target)
        elif isinstance(target, cst.Attribute):
            home, code = enclosing(context.tree, target, cst.ClassDef), context.source.code(target)
            found += [
                each
                for each in context.tree.attributes
                if each is not target
                and context.source.code(each) == code
                and enclosing(context.tree, each, cst.ClassDef) is home
            ]
    return found


def _decorated(context: FileContext, decorator: cst.Decorator, call: cst.Call) -> list[cst.Param]:
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


def rewrite_assertions(context: FileContext, reads: Sequence[cst.BaseExpression], target: Target, method: str) -> None:
    """Rewrite the assertions that read a mock's arguments; list what can't be followed.

    Args:
        context: The file.
        reads: From :func:`mock_reads`.
        target: The task that is patched.
        method: What of it is patched; empty for the task itself.

    Raises:
        LeaveError: An assertion's arguments can't be followed.
    """
    for load in reads:
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
        if parent.attr.value == "side_effect":
            _returned(context, parent, target)
        elif parent.attr.value in _ASSERTIONS:
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
    if target.system is not System.DRAMATIQ:
        return
    if isinstance(parent, cst.Attribute) and parent.attr.value == "message_id":
        context.replace(parent.attr, "id")
    elif isinstance(parent, cst.AssignTarget):
        assigned = context.parent(parent)
        if isinstance(assigned, cst.Assign):
            rewrite_doubles(context, [assigned.value])


def rewrite_doubles(context: FileContext, values: Iterable[cst.BaseExpression]) -> None:
    """Give what stands for the value of a send, such as ``Mock(message_id="1")``, the attribute of an AsyncResult.

    It may be written here, or be what a lambda or a function of the file returns.
    """
    for value in values:
        found = context.values.bindings(value) if isinstance(value, cst.Name) else ()
        made = found[0].node if len(found) == 1 and isinstance(found[0].node, cst.FunctionDef) else value
        for call in descendants(made):
            for arg in call.args if isinstance(call, cst.Call) else ():
                word = arg.keyword if arg.keyword is not None and arg.keyword.value == "message_id" else None
                if word is not None and not context.result.edits.starts_at(context.source.span(word)[0]):
                    context.replace(word, "id")


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


def reads_nothing(context: FileContext, value: cst.Lambda | cst.Name) -> bool:
    """Tell whether a double has no parameters of its own, or none that are read."""
    found = context.values.bindings(value) if isinstance(value, cst.Name) else ()
    made = found[0].node if len(found) == 1 else value
    if not isinstance(made, (cst.FunctionDef, cst.Lambda)):
        return isinstance(value, cst.Name) and (not found or not isinstance(made, cst.Param))
    params = made.params
    named = [*params.params, *params.kwonly_params, *(p for p in (params.star_arg, params.star_kwarg) if p)]
    return not any(context.tree.reads_of(param) for param in named if isinstance(param, cst.Param))
