"""``raise dramatiq.Retry(delay=…)`` in an actor becomes ``raise task.retry(countdown=…)``; it counts as it did.

Without a delay the policy's backoff would apply, which ``task.retry`` doesn't know; and ``retry`` sends the message
before it raises, so what might catch it must not stand around it.
Source: ``dramatiq/errors.py`` (``Retry``), ``dramatiq/middleware/retries.py``, ``celery/app/task.py`` (``retry``).
"""

from __future__ import annotations

import libcst as cst

from codemods.calls.actor_calls import Declaration
from codemods.calls.task_bodies import own_task
from codemods.editing.context import FileContext, LeaveError
from codemods.editing.units import seconds
from codemods.protocol import Rewrite

RETRIES = frozenset({"dramatiq.Retry", "dramatiq.errors.Retry"})
CODE = "RAISED-RETRY"
#: Options of an actor that are called with the exception.
_LOOK = ("retry_when", "on_failure", "on_retry_exhausted")
_WIDE = frozenset({"builtins.Exception", "builtins.BaseException"})


def rewrite(context: FileContext) -> None:
    """Rewrite what raises Dramatiq's Retry."""
    for call in context.tree.calls:
        raised = context.parent(call)
        if context.values.only(call.func) in RETRIES:
            with context.attempt(call):
                if not isinstance(raised, cst.Raise) or raised.exc is not call:
                    raise LeaveError(CODE, call, "not raised where it is made")
                _convert(context, call)


def _convert(context: FileContext, call: cst.Call) -> None:
    name, function, declared = own_task(context, call, CODE)
    delay = _delay(call)
    _check_policy(context, call, declared)
    _check_around(context, call, function)
    countdown = seconds(context, delay, timedelta_allowed=False)
    context.replace(call, f"{name}.retry(countdown={countdown})")
    context.result.replaced.append(call.func)


def _delay(call: cst.Call) -> cst.BaseExpression:
    """Return the delay that is given; a message was only logged, and is removed if it is a text.

    Raises:
        LeaveError: There is none, or more than can be read.
    """
    found = None
    for index, arg in enumerate(call.args):
        name = arg.keyword.value if arg.keyword is not None else ("message", "delay")[index] if index < 2 else ""
        if arg.star or name not in {"message", "delay"}:
            raise LeaveError(CODE, arg, "its arguments can't be read")
        if name == "delay":
            found = arg.value
        elif not isinstance(arg.value, (cst.SimpleString, cst.ConcatenatedString, cst.Name)) and not _plain(arg.value):
            raise LeaveError(CODE, arg, "its message is computed and would be lost")
    if found is None or (isinstance(found, cst.Name) and found.value == "None"):
        raise LeaveError(CODE, call, "without a delay: any exception of your own is retried with the same backoff")
    return found


def _plain(node: cst.BaseExpression) -> bool:
    """True for an f-string of names and attributes."""
    if not isinstance(node, cst.FormattedString):
        return False
    parts = [part for part in node.parts if isinstance(part, cst.FormattedStringExpression)]
    return all(isinstance(part.expression, (cst.Name, cst.Attribute)) for part in parts)


def _check_policy(context: FileContext, call: cst.Call, declared: Declaration) -> None:
    """Check that nothing in the actor's policy handles this exception differently."""
    if not context.index.policy.retries:
        raise LeaveError(CODE, call, "the broker has no Retries middleware, so it was not retried")
    for name in _LOOK:
        if name in declared.options:
            raise LeaveError(CODE, call, f"{name} would be called with it")
    throws = declared.options.get("throws")
    if throws is not None:
        listed = [e.value for e in throws.elements] if isinstance(throws, (cst.Tuple, cst.List)) else [throws]
        if any((path := context.values.only(item)) in _WIDE or "dramatiq" in path for item in listed):
            raise LeaveError(CODE, call, "throws holds it, so it was not retried")


def _check_around(context: FileContext, call: cst.Call, function: cst.FunctionDef) -> None:
    """Check that nothing in the body catches what is raised."""
    node: cst.CSTNode = call
    while node is not function:
        parent = context.parent(node)
        assert parent is not None
        if isinstance(parent, (cst.Try, cst.TryStar)) and parent.body is node and parent.handlers:
            raise LeaveError(CODE, call, "it may be caught here, and the retry would have been sent")
        if isinstance(parent, cst.With) and any("suppress" in context.source.code(item.item) for item in parent.items):
            raise LeaveError(CODE, call, "it may be suppressed here, and the retry would have been sent")
        if isinstance(parent, (cst.FunctionDef, cst.Lambda)) and parent is not function:
            raise LeaveError(CODE, call, "in a function inside the actor, whose caller may catch it")
        node = parent


REWRITE = Rewrite(name="raised_retries", whole_file=rewrite)
