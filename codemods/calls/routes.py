"""Routing of a task that is written as data: a route that names a legacy queue names the unified one.

Source: ``celery/app/routes.py`` (a route is a dict, or the name of a queue), ``celery/beat.py`` (``options``).
"""

from __future__ import annotations

import libcst as cst

from codemods.editing.context import FileContext, LeaveError
from codemods.editing.literals import replace_string
from codemods.resolve.name_resolution import text_of


def route(context: FileContext, value: cst.BaseExpression) -> None:
    """Rewrite one route.

    Raises:
        LeaveError: It names a queue that no unified worker reads.
    """
    if isinstance(value, cst.SimpleString):
        _queue(context, value)
    elements = value.elements if isinstance(value, cst.Dict) else ()
    for element in elements:
        if isinstance(element, cst.DictElement) and text_of(element.key) in {"queue", "routing_key"}:
            _queue(context, element.value)


def _queue(context: FileContext, node: cst.BaseExpression) -> None:
    queue = text_of(node)
    if queue in context.index.legacy_queues and isinstance(node, cst.SimpleString):
        replace_string(context, node, context.index.unified_queue)
    elif queue not in context.index.unified_queues:
        raise LeaveError("QUEUE-OPTION", node, queue or "")
