"""``actor.send(…)`` becomes ``task.delay(…)``; ``task.delay(…)`` keeps its name; both take the plan's arguments.

Source: ``dramatiq/actor.py`` ``Actor.send``, ``celery/app/task.py`` ``Task.delay``.
"""

from __future__ import annotations

import libcst as cst

from codemods.calls.arguments import adapt_arguments, one_meaning
from codemods.calls.results import follow_message
from codemods.editing.context import FileContext, LeaveError, Use
from codemods.protocol import Rewrite
from migrator.wire.message import System


def send(context: FileContext, use: Use) -> None:
    """Rewrite ``.send``."""
    assert use.attribute is not None
    if use.call is None:
        uncalled(context, use)
        context.replace(use.attribute.attr, "delay")
        return
    follow_message(context, use.call)
    adapt_arguments(context, use.call, use.targets)
    context.replace(use.attribute.attr, "delay")


def delay(context: FileContext, use: Use) -> None:
    """Adapt ``.delay`` of a Celery task."""
    if use.call is None:
        uncalled(context, use)
    else:
        adapt_arguments(context, use.call, use.targets)


def uncalled(context: FileContext, use: Use) -> None:
    """Accept a method that is handed on, unless its callers pass arguments that the plan changes.

    Raises:
        LeaveError: Somebody else passes the arguments.
    """
    assert use.attribute is not None
    target = one_meaning(use.targets)
    if not target.operations or _stored_to(context, use.attribute):
        return
    if not target.only_keywords_change:
        raise LeaveError("ESCAPES", use.attribute, "the plan changes its arguments")
    context.leave(
        use.attribute, "HANDED-ON", "keywords change: " + ", ".join(f"{o.name} is {o.to}" for o in target.operations)
    )


def _stored_to(context: FileContext, node: cst.Attribute) -> bool:
    """``task.send = double`` in a test."""
    return isinstance(context.parent(node), cst.AssignTarget)


REWRITE = Rewrite(
    name="sends",
    methods={
        (System.DRAMATIQ, "send"): send,
        (System.CELERY, "delay"): delay,
        (System.CELERY, "delay_on_commit"): delay,
    },
)
