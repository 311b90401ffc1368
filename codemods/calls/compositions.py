"""Which expression is a composition of Dramatiq messages, and whether Celery's canvas means the same."""

from __future__ import annotations

import libcst as cst

from codemods.calls.arguments import bind_call, bind_literals, check_result
from codemods.editing.context import FileContext, LeaveError, Use
from codemods.plan.plan_index import Target

#: Kind of composition to Celery's name for it.
NAMES = {"pipeline": "chain", "group": "group"}
_MODULES = ("dramatiq", "dramatiq.composition")
_MESSAGES = frozenset({"message", "message_with_options"})


def kind_of(context: FileContext, node: cst.CSTNode) -> str:
    """Return ``pipeline`` or ``group`` for a call of Dramatiq's, ``pipe`` for ``|``, or an empty string."""
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.BitOr):
        return "pipe"
    if isinstance(node, cst.Call):
        module, _, name = context.values.only(node.func).rpartition(".")
        return name if module in _MODULES and name in NAMES else ""
    return ""


def root_of(context: FileContext, call: cst.CSTNode) -> cst.BaseExpression | None:
    """Return the outermost composition around a message; None if it is in none."""
    root: cst.BaseExpression | None = None
    here: cst.CSTNode | None = context.parent(call)
    while here is not None:
        if kind_of(context, here):
            assert isinstance(here, cst.BaseExpression)
            root = here
        elif not isinstance(here, (cst.Element, cst.List, cst.Tuple, cst.Arg, cst.ListComp, cst.GeneratorExp)):
            break
        here = context.parent(here)
    return root


def validate(context: FileContext, node: cst.BaseExpression, *, piped: bool) -> None:
    """Check that a composition means the same in Celery.

    Args:
        context: The file.
        node: A composition or a message.
        piped: True if the previous result is handed to it.

    Raises:
        LeaveError: It doesn't, or that can't be proved.
    """
    kind = kind_of(context, node)
    if kind == "pipe":
        assert isinstance(node, cst.BinaryOperation)
        validate(context, node.left, piped=piped)
        validate(context, node.right, piped=True)
    elif kind == "pipeline":
        assert isinstance(node, cst.Call)
        children = _children(node)
        if children is None:
            raise LeaveError("PIPELINE", node)
        for index, child in enumerate(children):
            validate(context, child, piped=piped or index > 0)
    elif kind == "group":
        assert isinstance(node, cst.Call)
        if piped or len(node.args) != 1:
            raise LeaveError("PIPELINE", node)
        for child in _children(node) or _element(node):
            validate(context, child, piped=False)
    else:
        _message(context, node, piped=piped)


def _message(context: FileContext, node: cst.BaseExpression, *, piped: bool) -> None:
    use = context.uses.of_call(node)
    if use is None or use.attribute is None or use.attribute.attr.value not in _MESSAGES:
        raise LeaveError("PIPELINE", node)
    if any(target.retired for target in use.targets):
        raise LeaveError("RETIRED-TASK", node, use.target.name)
    if use.rewritten is False and use.whole is None:
        raise LeaveError("LINKED", node, "the message in this line")
    assert use.call is not None
    if piped and not _ignores(use):
        for target in use.targets:
            _gets_result(use, target, node)


def _gets_result(use: Use, target: Target, node: cst.BaseExpression) -> None:
    """Check a message that gets the result of the one before, behind its own positional arguments."""
    assert use.call is not None and use.attribute is not None
    if not target.operations and not _positional(use):
        return
    if not target.operations and not target.result_last:
        raise LeaveError("PIPELINE-ARGUMENTS", node)
    if use.attribute.attr.value == "message":
        given, position = bind_call(target, use.call.args), sum(arg.keyword is None for arg in use.call.args)
    else:
        args, kwargs = (_given(use, name) for name in ("args", "kwargs"))
        given, position = bind_literals(target, args, kwargs), len(bind_literals(target, args, None))
    check_result(target, given, node, position=position)


def _given(use: Use, name: str) -> cst.BaseExpression | None:
    """Return a keyword argument of ``.message_with_options(…)``."""
    assert use.call is not None
    return next((arg.value for arg in use.call.args if arg.keyword and arg.keyword.value == name), None)


def _ignores(use: Use) -> bool:
    value = _given(use, "pipe_ignore")
    return isinstance(value, cst.Name) and value.value == "True"


def _positional(use: Use) -> bool:
    """True if a message has positional arguments of its own, or may have."""
    assert use.call is not None and use.attribute is not None
    if use.attribute.attr.value == "message":
        return any(arg.keyword is None for arg in use.call.args)
    args = _given(use, "args")
    return args is not None and not (isinstance(args, (cst.Tuple, cst.List)) and not args.elements)


def _children(node: cst.Call) -> list[cst.BaseExpression] | None:
    """Return the written-out children of ``pipeline([…])``; None if they aren't."""
    if len(node.args) != 1 or node.args[0].keyword is not None:
        return None
    value = node.args[0].value
    if not isinstance(value, (cst.List, cst.Tuple)) or not all(isinstance(e, cst.Element) for e in value.elements):
        return None
    return [element.value for element in value.elements]


def _element(node: cst.Call) -> list[cst.BaseExpression]:
    value = node.args[0].value
    if isinstance(value, (cst.ListComp, cst.GeneratorExp)):
        return [value.elt]
    raise LeaveError("PIPELINE", node)
