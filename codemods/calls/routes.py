"""Routing of a task that is written as data: a route that names a legacy queue names the unified one.

Source: ``celery/app/routes.py`` (a route is a dict, or the name of a queue), ``celery/beat.py`` (``options``).
"""

from __future__ import annotations

import libcst as cst

from codemods.calls.queues import write_queue
from codemods.editing.context import FileContext
from codemods.plan.plan_index import Target
from codemods.resolve.name_resolution import text_of


def route(context: FileContext, value: cst.BaseExpression, target: Target | None = None) -> None:
    """Rewrite one route, of a task if that is known.

    Raises:
        LeaveError: It names a queue that no unified worker reads.
    """
    if isinstance(value, cst.SimpleString):
        write_queue(context, value, target)
    called = isinstance(value, cst.Call) and context.values.only(value.func) == "builtins.dict"
    for arg in value.args if called and isinstance(value, cst.Call) else ():
        if arg.keyword is not None and arg.keyword.value in {"queue", "routing_key"}:
            write_queue(context, arg.value, target)
    elements = value.elements if isinstance(value, cst.Dict) else ()
    for element in elements:
        if isinstance(element, cst.DictElement) and text_of(element.key) in {"queue", "routing_key"}:
            write_queue(context, element.value, target)
