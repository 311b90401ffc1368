"""Queues that source names: what the unified workers consume stays, a legacy queue becomes that of the task."""

from __future__ import annotations

import libcst as cst

from codemods.editing.context import FileContext, LeaveError
from codemods.editing.literals import replace_string
from codemods.plan.plan_index import Target
from codemods.resolve.constants import texts_of


def planned_queue(context: FileContext, node: cst.BaseExpression, target: Target | None) -> str:
    """Return the queue that takes the place of the one that an expression names; empty if the expression may stay.

    Raises:
        LeaveError: It names a queue that no unified worker reads, or it isn't known what it names.
    """
    named = texts_of(context.values, node, context.index.root, context.index.settings)
    if not named or named - context.index.unified_queues - context.index.legacy_queues:
        raise LeaveError("QUEUE-OPTION", node, context.source.code(node))
    if named <= context.index.unified_queues:
        return ""
    if named & context.index.unified_queues:
        raise LeaveError("QUEUE-OPTION", node, f"may be {', '.join(sorted(named))}")
    return target.queue if target is not None and target.queue else context.index.unified_queue


def write_queue(context: FileContext, node: cst.BaseExpression, target: Target | None) -> None:
    """Write the planned queue in the place of an expression.

    Raises:
        LeaveError: As :func:`planned_queue`.
    """
    if isinstance(node, cst.IfExp):
        write_queue(context, node.body, target)
        write_queue(context, node.orelse, target)
        return
    queue = planned_queue(context, node, target)
    if queue and isinstance(node, cst.SimpleString):
        replace_string(context, node, queue)
    elif queue:
        context.replace(node, f'"{queue}"')
