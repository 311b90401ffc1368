"""Dramatiq actors that the plan maps to themselves become Celery tasks where they stand.

Others of their modules, which the plan replaces elsewhere, become plain functions: nothing sends them any more, and a
unified task may still call one.

``@dramatiq.actor``, bare, called, aliased or through ``functools.partial``. The name is written out, so that nothing
depends on the module path; so is what the configured middleware did (:mod:`codemods.calls.actor_options`).
A decorator of dramatiq-crontab goes with it, if the plan's schedule has its entry.
Source: ``dramatiq/actor.py``, ``dramatiq_crontab/__init__.py``, ``celery/app/__init__.py`` ``shared_task``.
"""

from __future__ import annotations

import libcst as cst

from codemods.calls.actor_calls import declaration
from codemods.calls.actor_options import check_scheduled, task_options
from codemods.calls.task_support import coroutine_wrapper, keep_comments, note_definition, result_last_wrapper
from codemods.editing.context import FileContext, LeaveError
from codemods.editing.statements import remove_line
from codemods.plan.plan_index import Target
from codemods.protocol import Rewrite
from codemods.schedules.job_triggers import scheduling

_SCHEDULERS = frozenset({"dramatiq_crontab.cron", "dramatiq_crontab.interval"})


def rewrite(context: FileContext) -> None:
    """Convert the decorated actors of a file."""
    for node in context.tree.definitions:
        if not isinstance(node, cst.FunctionDef) or context.tree.scopes[node].parent is not None:
            continue
        target = context.index.targets.get(f"{context.values.where.module}.{node.name.value}")
        if target is None or not (target.in_place or target.left_behind):
            continue
        for decorator in node.decorators:
            with context.attempt(decorator):
                _convert(context, node, decorator, target)


def _convert(context: FileContext, node: cst.FunctionDef, decorator: cst.Decorator, target: Target) -> None:
    found = declaration(context, decorator.decorator)
    if found is None:
        return
    if found.wrapped is not None:
        raise LeaveError("ACTOR-OPTION", decorator, "a function of its own")
    if target.left_behind:
        if any(use.attribute is not None and not use.rewritten and target in use.targets for use in context.uses):
            raise LeaveError("LINKED", decorator, "it is sent in this file")
        remove_line(context, decorator)
        context.result.converted.add(target.path)
        context.result.replaced.append(found.function)
        return
    options = task_options(context, target, found.options, decorator)
    _remove_scheduler_jobs(context, node, target)
    name = context.local_import("celery", "shared_task", found.function)
    lines = [f"{name}({', '.join(options)})"]
    if target.result_last:
        lines.append(f"@{result_last_wrapper(context)}")
    if node.asynchronous is not None:
        lines.append(f"@{coroutine_wrapper(context)}")
    context.replace(decorator.decorator, f"{context.source.newline()}{_indent(context, decorator)}".join(lines))
    keep_comments(context, decorator.decorator, decorator)
    note_definition(context, node, target.path)


def _remove_scheduler_jobs(context: FileContext, node: cst.FunctionDef, target: Target) -> None:
    """Remove the decorators of dramatiq-crontab; they send actors only."""
    for decorator in node.decorators:
        schedule = decorator.decorator
        if not isinstance(schedule, cst.Call) or scheduling(context, schedule.func) not in _SCHEDULERS:
            continue
        check_scheduled(context, target, schedule)
        remove_line(context, decorator)
        context.result.replaced.append(schedule.func)


def _indent(context: FileContext, node: cst.CSTNode) -> str:
    start = context.source.span(node)[0]
    return context.source.text[context.source.text.rfind(b"\n", 0, start) + 1 : start].decode("utf-8")


REWRITE = Rewrite(name="definitions", whole_file=rewrite, defines=True)
