"""Tasks called without a queue stay direct calls: ``actor(…)``, ``task(…)``, ``task.run(…)``; ``actor.fn`` is ``.run``.

Only the plan's arguments change. Bare references are renamed where nothing can go wrong.
Source: ``dramatiq/actor.py`` (``fn``, ``__call__``), ``celery/app/task.py`` (``run``, ``__call__``, ``name``).
"""

from __future__ import annotations

import libcst as cst

from codemods.engine.arguments import adapt_arguments, one_meaning
from codemods.engine.context import FileContext, LeaveError, Use
from codemods.engine.literals import replace_string
from codemods.engine.receivers import unknown_senders
from codemods.engine.registry import Rewrite
from codemods.engine.values import UNKNOWN, enclosing, text_of
from migrator.message import System

_LOOKERS = frozenset(
    f"builtins.{name}" for name in ("isinstance", "print", "repr", "str", "type", "id", "callable", "len")
)
_CONTAINERS = (cst.Element, cst.DictElement, cst.Tuple, cst.List, cst.Set, cst.Dict, cst.IfExp)


def direct(context: FileContext, use: Use) -> None:
    """Adapt a direct call; an awaited one can't go on, because a task is a plain function."""
    assert use.call is not None
    if isinstance(context.parent(use.call), cst.Await):
        raise LeaveError("ASYNC-CALL", use.call)
    adapt_arguments(context, use.call, use.targets)


def function(context: FileContext, use: Use) -> None:
    """Rewrite ``actor.fn``."""
    assert use.attribute is not None
    if use.call is None:
        if one_meaning(use.targets).operations:
            raise LeaveError("ESCAPES", use.attribute)
    else:
        direct(context, use)
    context.replace(use.attribute.attr, "run")


def run(context: FileContext, use: Use) -> None:
    """Adapt ``task.run(…)``."""
    if use.call is not None:
        direct(context, use)


def actor_name(context: FileContext, use: Use) -> None:
    """Rewrite ``actor.actor_name``."""
    assert use.attribute is not None
    context.replace(use.attribute.attr, "name")


def kept_attribute(context: FileContext, use: Use) -> None:
    """Attributes that a Celery task has too."""


def computed_name(context: FileContext, use: Use) -> None:
    """A task's module, read to make up a name of a task that will be another one's.

    Raises:
        LeaveError: Always, unless the task stays where it is.
    """
    if not use.target.in_place:
        raise LeaveError("COMPUTED-NAME", use.attribute or use.node)


def wrapped(context: FileContext, use: Use) -> None:
    """``task.__wrapped__(…)`` takes the task's own arguments."""
    if use.call is not None:
        direct(context, use)


def bare_actor(context: FileContext, use: Use) -> None:
    """Let a bare actor through where its use can be seen, or where nothing in the file could send it."""
    if not _followed(context, use.node):
        _hand_on(context, use)


def bare_task(context: FileContext, use: Use) -> None:
    """A bare Celery task keeps its interface; only changed arguments need its use to be seen."""
    if one_meaning(use.targets).operations and not _followed(context, use.node):
        _hand_on(context, use)


def _hand_on(context: FileContext, use: Use) -> None:
    parent = context.parent(use.node)
    while isinstance(parent, _CONTAINERS):
        parent = context.parent(parent)
    given = isinstance(parent, cst.Arg) and not _appended(context, parent)
    if given or unknown_senders(context):
        raise LeaveError("ESCAPES", use.node)
    context.leave(use.node, "HANDED-ON", use.target.name)


def _appended(context: FileContext, arg: cst.Arg) -> bool:
    call = context.parent(arg)
    return (
        isinstance(call, cst.Call)
        and isinstance(call.func, cst.Attribute)
        and call.func.attr.value in {"append", "add"}
    )


def _followed(context: FileContext, node: cst.CSTNode) -> bool:
    """True where the value is only looked at, or where what holds it is followed by the rewrites."""
    parent = context.parent(node)
    while isinstance(parent, _CONTAINERS):
        node, parent = parent, context.parent(parent)
    if isinstance(parent, (cst.Comparison, cst.ComparisonTarget, cst.Assert, cst.Expr, cst.Annotation, cst.Del)):
        return True
    if enclosing(context.tree, node, cst.Annotation) is not None:
        return True
    if isinstance(parent, cst.Arg):
        call = context.parent(parent)
        if not isinstance(call, cst.Call):
            return False
        if context.values.only(call.func) in {"builtins.getattr", "builtins.hasattr"}:
            return _by_name(context, call)
        if context.values.only(call.func) in _LOOKERS | {"unittest.mock.patch.object"}:
            return True
        if context.source.code(call.func) in {"mocker.spy", "monkeypatch.setattr"}:
            return call.args[0] is parent
        return isinstance(call.func, cst.Attribute) and call.func.attr.value in {"assertIs", "assertIsNot", "object"}
    if isinstance(parent, (cst.For, cst.CompFor)):
        return parent.iter is node
    if isinstance(parent, (cst.Subscript, cst.Attribute)):
        return parent.value is node
    if isinstance(parent, (cst.Assign, cst.AnnAssign, cst.NamedExpr)):
        return _stays_here(context, parent)
    return False


def _by_name(context: FileContext, call: cst.Call) -> bool:
    """``getattr(actor, "send")``: the method's name follows, if no argument changes; False if that can't be said."""
    named = call.args[1].value if len(call.args) > 1 else None
    use = next((use for use in context.uses if use.node is call.args[0].value), None)
    if use is None or not isinstance(named, cst.SimpleString):
        return False
    if use.target.system is System.CELERY or use.target.converted:
        return not use.target.operations
    if text_of(named) != "send" or use.target.operations:
        return False
    replace_string(context, named, "delay")
    return True


def _stays_here(context: FileContext, node: cst.Assign | cst.AnnAssign | cst.NamedExpr) -> bool:
    """True if every read of the assigned name is an attribute, call, item or loop that the rewrites follow."""
    targets = [t.target for t in node.targets] if isinstance(node, cst.Assign) else [node.target]
    if len(targets) != 1:
        return False
    target = targets[0]
    if isinstance(target, cst.Attribute):
        owner = enclosing(context.tree, node, cst.ClassDef)
        return owner is not None and isinstance(target.value, cst.Name) and target.value.value in {"self", "cls"}
    if not isinstance(target, cst.Name):
        return False
    for load in context.tree.loads:
        if load.value != target.value or not any(b.node is target for b in context.values.bindings(load)):
            continue
        parent = context.parent(load)
        called = isinstance(parent, cst.Call) and parent.func is load
        looked = isinstance(parent, (cst.Attribute, cst.Subscript)) and parent.value is load
        looped = isinstance(parent, (cst.For, cst.CompFor)) and parent.iter is load
        counted = isinstance(parent, (cst.Comparison, cst.ComparisonTarget))
        if not (called or looked or looped or counted) or (UNKNOWN in context.values.dotted(load) and called):
            return False
    return True


REWRITE = Rewrite(
    name="direct_calls",
    methods={
        (System.DRAMATIQ, "()"): direct,
        (System.CELERY, "()"): direct,
        (System.DRAMATIQ, "fn"): function,
        (System.CELERY, "run"): run,
        (System.DRAMATIQ, "actor_name"): actor_name,
        (System.DRAMATIQ, "__module__"): computed_name,
        (System.CELERY, "__module__"): computed_name,
        (System.CELERY, "__wrapped__"): wrapped,
        (System.DRAMATIQ, "__name__"): kept_attribute,
        (System.DRAMATIQ, "__doc__"): kept_attribute,
        (System.DRAMATIQ, ""): bare_actor,
        (System.CELERY, ""): bare_task,
    },
)
