"""Jobs of APScheduler that send a legacy task: replaced and retired ones are removed, the others are listed.

``add_job(task.send, …)``, and ``add_job`` or ``@scheduled_job`` of a function that does nothing but send. A listed job
comes with the ``[[schedule]]`` that means the same, weekday and minute included, so that beat can own it; so does one
that goes while the plan's schedule says another time.
Source: ``apscheduler/schedulers/base.py`` (``add_job``, ``scheduled_job``); :mod:`codemods.schedules.job_triggers`.
"""

from __future__ import annotations

from dataclasses import dataclass

import libcst as cst

from codemods.calls.job_arguments import Given, lost_arguments, of_function, of_job, tell_arguments
from codemods.editing.context import FileContext, Use
from codemods.editing.forgetting import remove_and_forget
from codemods.editing.literals import argument
from codemods.editing.statements import remove_line
from codemods.plan.plan_index import Target
from codemods.protocol import Rewrite
from codemods.resolve.name_resolution import text_of
from codemods.schedules.job_triggers import job_text, tell_difference
from codemods.syntax.scopes import BindingKind

#: The uses of tasks by what is done with them.
Uses = dict[cst.BaseExpression, Use]

#: Codes of the leftovers that this rewrite lists.
_ABOUT_JOBS = frozenset({"SCHEDULE-DIFFERS", "SCHEDULE-JOB"})
_SENDS = frozenset({"send", "delay"})


@dataclass(frozen=True, slots=True)
class _Job:
    """One job that sends one legacy task and does nothing else."""

    #: The call that adds it, or that decorates its function.
    call: cst.Call
    name: str
    target: Target | None
    #: What the task gets.
    given: Given


def rewrite(context: FileContext) -> None:
    """Remove or list every job of a file."""
    uses: Uses = {use.attribute: use for use in context.uses if use.attribute is not None}
    jobs: dict[str, list[_Job]] = {}
    for call in context.tree.calls:
        method = call.func.attr.value if isinstance(call.func, cst.Attribute) else ""
        if method == "add_job":
            job = _added(context, call, uses)
        elif method == "scheduled_job":
            job = _decorated(context, call, uses)
        else:
            continue
        if job is not None:
            jobs.setdefault(_entry(context, call, job.name), []).append(job)
    for entry, same in jobs.items():
        for job in same:
            _settle(context, job, entry, alone=len(same) == 1)


def _added(context: FileContext, call: cst.Call, uses: Uses) -> _Job | None:
    """Return the job that a call adds; one that is made of something that sends a task is listed."""
    found = argument(call, 0, "func")
    if found is None:
        return None
    job = found.value
    use = uses.get(job)
    if use is not None and use.attribute is not None and use.attribute.attr.value in _SENDS:
        return _Job(call, _leaf(use.node), _only(use), of_job(context, call))
    if isinstance(job, cst.Name):
        bound = context.values.bindings(job)
        node = bound[0].node if len(bound) == 1 and bound[0].kind is BindingKind.DEFINITION else None
        return _function(context, call, node, uses) if isinstance(node, cst.FunctionDef) else None
    path, _, method = (text_of(job) or "").rpartition(".")
    target = context.index.targets.get(path.replace(":", ".")) if ":" in path and method in _SENDS else None
    if target is not None:
        return _Job(call, path.replace(":", ".").rpartition(".")[2], target, of_job(context, call))
    # Its options, if it is that method, are listed where they can't be followed.
    if _holds(job, uses) and not (isinstance(job, cst.Attribute) and job.attr.value == "send_with_options"):
        context.leave(call, "SCHEDULE-JOB", job_text(context, argument(call, 1, "trigger"), call.args))
    return None


def _decorated(context: FileContext, call: cst.Call, uses: Uses) -> _Job | None:
    decorator = context.parent(call)
    function = context.parent(decorator) if isinstance(decorator, cst.Decorator) else None
    return _function(context, call, function, uses) if isinstance(function, cst.FunctionDef) else None


def _function(context: FileContext, call: cst.Call, node: cst.FunctionDef, uses: Uses) -> _Job | None:
    """Return the job of a function, if it does nothing but send a legacy task."""
    sent = _sending(node, uses)
    if sent is None:
        return None
    return _Job(call, node.name.value, _only(uses[sent.func]), of_function(context, call, node, sent))


def _only(use: Use) -> Target | None:
    return use.target if len(use.targets) == 1 else None


def _holds(node: cst.CSTNode, uses: Uses) -> bool:
    """True if a part of an expression sends a legacy task, such as a method of one that a call wraps."""
    return node in uses or any(_holds(child, uses) for child in node.children)


def _settle(context: FileContext, job: _Job, entry: str, *, alone: bool) -> None:
    """Remove a job that the plan's schedule has, or list it."""
    decorator = context.parent(job.call)
    text = job_text(
        context, argument(job.call, 0 if isinstance(decorator, cst.Decorator) else 1, "trigger"), job.call.args
    )
    planned = context.index.schedule.get(entry)
    if planned is None:
        context.leave(job.call, "SCHEDULE-JOB", text)
    elif not alone:
        context.leave(
            job.call, "SCHEDULE-JOB", f"several jobs are {entry}: give each an id, and its own entry in the plan"
        )
    elif lost := lost_arguments(context, job.given, planned):
        context.leave(job.call, "SCHEDULE-JOB", lost)
    elif isinstance(decorator, cst.Decorator):
        _tell(context, job, entry, text)
        remove_line(context, decorator)
    elif _alone(context, job.call):
        _tell(context, job, entry, text)
        remove_and_forget(context, job.call, told=_ABOUT_JOBS)
    else:
        context.leave(job.call, "SCHEDULE-JOB", text)


def _tell(context: FileContext, job: _Job, entry: str, text: str) -> None:
    tell_difference(context, job.call, entry, text)
    tell_arguments(context, job.call, job.target, job.given, entry)


def _sending(node: cst.FunctionDef, uses: Uses) -> cst.Call | None:
    """Return the call by which a function sends a legacy task, if it does nothing else."""
    body = list(node.body.body)
    if body and isinstance(body[0], cst.SimpleStatementLine) and node.get_docstring() is not None:
        body = body[1:]
    small = body[0].body if len(body) == 1 and isinstance(body[0], cst.SimpleStatementLine) else ()
    value = small[0].value if len(small) == 1 and isinstance(small[0], (cst.Expr, cst.Return)) else None
    method = value.func if isinstance(value, cst.Call) else None
    sends = isinstance(method, cst.Attribute) and method in uses and method.attr.value in _SENDS
    return value if sends and isinstance(value, cst.Call) else None


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
