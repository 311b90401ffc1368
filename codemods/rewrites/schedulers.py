"""Jobs of APScheduler that send a legacy task: replaced and retired ones are removed, the others are listed.

``add_job(task.send, …)``, and ``add_job`` or ``@scheduled_job`` of a function that does nothing but send. A listed job
comes with the ``[[schedule]]`` that means the same, weekday and minute included, so that beat can own it; so does one
that goes while the plan's schedule says another time.
Source: ``apscheduler/schedulers/base.py`` (``add_job``, ``scheduled_job``); :mod:`codemods.schedules.job_triggers`.
"""

from __future__ import annotations

import libcst as cst

from codemods.editing.context import FileContext, Use
from codemods.editing.forgetting import remove_and_forget
from codemods.editing.literals import argument
from codemods.editing.statements import remove_line
from codemods.protocol import Rewrite
from codemods.resolve.name_resolution import text_of
from codemods.schedules.job_triggers import job_text, tell_difference
from codemods.syntax.scopes import BindingKind

#: The uses of tasks by what is done with them.
Uses = dict[cst.BaseExpression, Use]

#: Codes of the leftovers that this rewrite lists.
_ABOUT_JOBS = frozenset({"SCHEDULE-DIFFERS", "SCHEDULE-JOB"})
_SENDS = frozenset({"send", "delay"})


def rewrite(context: FileContext) -> None:
    """Remove or list every job of a file."""
    uses: Uses = {use.attribute: use for use in context.uses if use.attribute is not None}
    for call in context.tree.calls:
        if not isinstance(call.func, cst.Attribute):
            continue
        if call.func.attr.value == "add_job":
            _job(context, call, uses)
        elif call.func.attr.value == "scheduled_job":
            _decorated(context, call, uses)


def _job(context: FileContext, call: cst.Call, uses: Uses) -> None:
    """Remove or list a job."""
    job = argument(call, 0, "func")
    use = uses.get(job.value) if job is not None and isinstance(job.value, cst.Attribute) else None
    name = ""
    if use is not None and use.attribute is not None and use.attribute.attr.value in _SENDS:
        name = _leaf(use.node)
    elif job is not None and isinstance(job.value, cst.Name):
        found = context.values.bindings(job.value)
        node = found[0].node if len(found) == 1 and found[0].kind is BindingKind.DEFINITION else None
        name = job.value.value if isinstance(node, cst.FunctionDef) and _only_sends(node, uses) else ""
    if not name:
        return
    entry, text = _entry(context, call, name), job_text(context, argument(call, 1, "trigger"), call.args)
    if entry in context.index.schedule and _alone(context, call):
        tell_difference(context, call, entry, text)
        remove_and_forget(context, call, told=_ABOUT_JOBS)
    else:
        context.leave(call, "SCHEDULE-JOB", text)


def _decorated(context: FileContext, call: cst.Call, uses: Uses) -> None:
    decorator = context.parent(call)
    function = context.parent(decorator) if isinstance(decorator, cst.Decorator) else None
    if not isinstance(decorator, cst.Decorator) or not isinstance(function, cst.FunctionDef):
        return
    if not _only_sends(function, uses):
        return
    entry = _entry(context, call, function.name.value)
    text = job_text(context, argument(call, 0, "trigger"), call.args)
    if entry in context.index.schedule:
        tell_difference(context, call, entry, text)
        remove_line(context, decorator)
    else:
        context.leave(call, "SCHEDULE-JOB", text)


def _only_sends(node: cst.FunctionDef, uses: Uses) -> bool:
    """True if a function does nothing but send a legacy task."""
    body = list(node.body.body)
    if body and isinstance(body[0], cst.SimpleStatementLine) and node.get_docstring() is not None:
        body = body[1:]
    small = body[0].body if len(body) == 1 and isinstance(body[0], cst.SimpleStatementLine) else ()
    value = small[0].value if len(small) == 1 and isinstance(small[0], (cst.Expr, cst.Return)) else None
    called = value.func if isinstance(value, cst.Call) else None
    return isinstance(called, cst.Attribute) and called in uses and called.attr.value in _SENDS


def _entry(context: FileContext, call: cst.Call, name: str) -> str:
    named = argument(call, 99, "id")
    return f"{context.values.where.module}:{(text_of(named.value) if named else None) or name}"


def _leaf(node: cst.BaseExpression) -> str:
    if isinstance(node, cst.Attribute):
        return node.attr.value
    return node.value if isinstance(node, cst.Name) else ""


def _alone(context: FileContext, call: cst.Call) -> bool:
    line = context.parent(context.parent(call) or call)
    return isinstance(context.parent(call), cst.Expr) and isinstance(line, cst.SimpleStatementLine)


REWRITE = Rewrite(name="schedulers", whole_file=rewrite)
