"""Tasks called without a queue stay direct calls: ``actor(…)``, ``task(…)``, ``task.run(…)``; ``actor.fn`` is ``.run``.

Only the plan's arguments change. Bare references are renamed where that is safe.
Source: ``dramatiq/actor.py`` (``fn``, ``__call__``), ``celery/app/task.py`` (``run``, ``__call__``, ``name``).
"""

from __future__ import annotations

import libcst as cst

from codemods.calls.arguments import adapt_arguments, one_meaning
from codemods.editing.context import FileContext, LeaveError, Use
from codemods.editing.literals import replace_string
from codemods.protocol import Rewrite
from codemods.resolve.name_resolution import text_of
from codemods.schedules.schedule_text import quoted
from codemods.uses.escape_analysis import CONTAINERS, followed, sent_from_result, shown_to_others
from codemods.uses.receivers import unknown_senders
from migrator.wire.message import System

#: What a text is put together with.
_COMPUTING = (
    *(cst.FormattedString, cst.FormattedStringExpression, cst.BinaryOperation, cst.Arg, cst.Call),
    *(cst.Element, cst.Tuple, cst.List, cst.ConcatenatedString),
)


def direct(context: FileContext, use: Use) -> None:
    """Adapt a direct call; an awaited one is left, because a task is a plain function."""
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
    for node in compared_with(context, use.attribute):
        if text_of(node) == use.target.name and isinstance(node, cst.SimpleString):
            replace_string(context, node, use.target.unified)
        elif use.target.name != use.target.unified and not _is_name(node):
            context.leave(use.attribute, "COMPUTED-NAME", f"compared with {context.source.code(node)}")


def _is_name(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Attribute) and node.attr.value == "actor_name"


def compared_with(context: FileContext, node: cst.BaseExpression) -> list[cst.BaseExpression]:
    """Return what an expression is compared with, by an operator or by unittest's ``assertEqual``."""
    parent = context.parent(node)
    comparison = context.parent(parent) if isinstance(parent, cst.ComparisonTarget) else parent
    if isinstance(comparison, cst.Comparison):
        operands = [comparison.left, *(item.comparator for item in comparison.comparisons)]
        return [operand for operand in operands if operand is not node]
    call = context.parent(parent) if isinstance(parent, cst.Arg) else None
    if isinstance(call, cst.Call) and isinstance(call.func, cst.Attribute) and call.func.attr.value == "assertEqual":
        return [arg.value for arg in call.args[:2] if arg.value is not node]
    return []


def logger(context: FileContext, use: Use) -> None:
    """Rewrite ``actor.logger``: Dramatiq names it after the actor's module and the actor, Celery after the module.

    Raises:
        LeaveError: It is replaced.
    """
    assert use.attribute is not None
    if isinstance(context.parent(use.attribute), cst.AssignTarget):
        raise LeaveError("ACTOR-ATTRIBUTE", use.attribute, "logger is given another value")
    module = use.target.unified_path.rpartition(".")[0]
    name = "__name__" if module == context.values.where.module else quoted(module)
    context.replace(use.attribute, f"{context.local_import('celery.utils.log', 'get_task_logger')}({name})")
    use.removed = True


def kept_attribute(context: FileContext, use: Use) -> None:
    """Attributes that a Celery task has too."""


def computed_name(context: FileContext, use: Use) -> None:
    """Refuse a read of a task's module: a name is built from it, and the unified task has another one.

    Raises:
        LeaveError: Always, unless the task stays where it is.
    """
    if not use.target.in_place:
        raise LeaveError("COMPUTED-NAME", use.attribute or use.node)


def function_name(context: FileContext, use: Use) -> None:
    """Refuse a read of a task's own name where it becomes another one, or stands beside that of its module.

    Raises:
        LeaveError: The name would be half the legacy one.
    """
    renamed = any(target.leaf != target.path.rpartition(".")[2] for target in use.targets)
    top: cst.CSTNode = use.attribute or use.node
    while isinstance(parent := context.parent(top), _COMPUTING):
        top = parent
    if renamed or "__module__" in context.source.code(top):
        computed_name(context, use)


def wrapped(context: FileContext, use: Use) -> None:
    """``task.__wrapped__(…)`` takes the task's own arguments."""
    if use.call is not None:
        direct(context, use)


def bare_actor(context: FileContext, use: Use) -> None:
    """Accept a bare actor where its use is known, or where nothing in the file could send it."""
    if not followed(context, use.node):
        _hand_on(context, use)
    elif use.container not in context.index.read_containers and shown_to_others(context, use.node):
        context.leave(use.node, "HANDED-ON", use.target.name)


def bare_task(context: FileContext, use: Use) -> None:
    """Accept a bare Celery task: it keeps its interface, so only changed arguments require that its use is known."""
    if one_meaning(use.targets).operations and not followed(context, use.node):
        _hand_on(context, use)


def _hand_on(context: FileContext, use: Use) -> None:
    parent = context.parent(use.node)
    while isinstance(parent, CONTAINERS):
        parent = context.parent(parent)
    given = isinstance(parent, cst.Arg) and not _appended(context, parent)
    returned = isinstance(parent, cst.Return) and sent_from_result(context, parent) is not None
    if given or returned or unknown_senders(context):
        raise LeaveError("ESCAPES", use.node)
    context.leave(use.node, "HANDED-ON", use.target.name)


def _appended(context: FileContext, arg: cst.Arg) -> bool:
    call = context.parent(arg)
    return (
        isinstance(call, cst.Call)
        and isinstance(call.func, cst.Attribute)
        and call.func.attr.value in {"append", "add"}
    )


REWRITE = Rewrite(
    name="direct_calls",
    methods={
        (System.DRAMATIQ, "()"): direct,
        (System.CELERY, "()"): direct,
        (System.DRAMATIQ, "fn"): function,
        (System.CELERY, "run"): run,
        (System.DRAMATIQ, "actor_name"): actor_name,
        (System.DRAMATIQ, "logger"): logger,
        (System.DRAMATIQ, "__module__"): computed_name,
        (System.CELERY, "__module__"): computed_name,
        (System.CELERY, "__wrapped__"): wrapped,
        (System.DRAMATIQ, "__name__"): function_name,
        (System.CELERY, "__name__"): function_name,
        (System.DRAMATIQ, "__qualname__"): function_name,
        (System.CELERY, "__qualname__"): function_name,
        (System.DRAMATIQ, "__doc__"): kept_attribute,
        (System.DRAMATIQ, ""): bare_actor,
        (System.CELERY, ""): bare_task,
    },
)
