"""Jobs of APScheduler that send a legacy task: those that the plan replaces or retires go, the others are listed.

A listed job comes with the ``[[schedule]]`` that means the same, weekday and minute included, so that beat can own it.
Source: ``apscheduler/schedulers/base.py`` (``add_job``); :mod:`codemods.engine.triggers`.
"""

from __future__ import annotations

import libcst as cst

from codemods.engine.context import FileContext
from codemods.engine.literals import argument
from codemods.engine.registry import Rewrite
from codemods.engine.triggers import cron, from_crontab, interval
from codemods.engine.values import text_of

_SENDS = frozenset({"send", "delay", "apply_async", "send_with_options"})
#: Arguments of ``add_job`` that belong to no trigger.
_JOB = frozenset(
    {"func", "trigger", "args", "kwargs", "id", "name", "misfire_grace_time", "coalesce", "max_instances"}
    | {"next_run_time", "jobstore", "executor", "replace_existing", "timezone", "jitter"}
)
_TRIGGERS = "apscheduler.triggers."


def rewrite(context: FileContext) -> None:
    """Look at every job of a file."""
    uses = {use.attribute: use for use in context.uses if use.attribute is not None}
    for call in context.tree.calls:
        if not isinstance(call.func, cst.Attribute) or call.func.attr.value != "add_job":
            continue
        job = argument(call, 0, "func")
        use = uses.get(job.value) if job is not None and isinstance(job.value, cst.Attribute) else None
        if use is None or use.attribute is None or use.attribute.attr.value not in _SENDS:
            continue
        named = argument(call, 99, "id")
        entry = (text_of(named.value) if named else None) or _leaf(use.node)
        if f"{context.values.where.module}:{entry}" in context.index.schedule and _alone(context, call):
            _remove(context, call)
        else:
            context.leave(call, "SCHEDULE-JOB", suggestion(context, call))


def suggestion(context: FileContext, call: cst.Call) -> str:
    """Return the trigger of a job as the plan writes it; empty if it can't be read."""
    trigger = argument(call, 1, "trigger")
    keywords = [arg for arg in call.args if arg.keyword is not None and arg.keyword.value not in _JOB]
    if trigger is None:
        return ""
    kind = text_of(trigger.value)
    if kind in {"cron", "interval"}:
        given = _constants(keywords)
        return "" if given is None else cron(given) if kind == "cron" else interval(given)
    if not isinstance(trigger.value, cst.Call):
        return ""
    made = context.values.only(trigger.value.func)
    if made.startswith(_TRIGGERS) and made.endswith("CronTrigger.from_crontab") and trigger.value.args:
        return from_crontab(text_of(trigger.value.args[0].value) or "")
    given = _constants([arg for arg in trigger.value.args if not (arg.keyword and arg.keyword.value in _JOB)])
    if given is None or not made.startswith(_TRIGGERS):
        return ""
    return cron(given) if made.endswith("CronTrigger") else interval(given) if made.endswith("IntervalTrigger") else ""


def _constants(args: list[cst.Arg]) -> dict[str, object] | None:
    found: dict[str, object] = {}
    for arg in args:
        if arg.keyword is None:
            return None
        if isinstance(arg.value, (cst.Integer, cst.Float)):
            found[arg.keyword.value] = arg.value.evaluated_value
        elif (text := text_of(arg.value)) is not None:
            found[arg.keyword.value] = text
        else:
            return None
    return found


def _leaf(node: cst.BaseExpression) -> str:
    if isinstance(node, cst.Attribute):
        return node.attr.value
    return node.value if isinstance(node, cst.Name) else ""


def _alone(context: FileContext, call: cst.Call) -> bool:
    line = context.parent(context.parent(call) or call)
    return isinstance(context.parent(call), cst.Expr) and isinstance(line, cst.SimpleStatementLine)


def _remove(context: FileContext, call: cst.Call) -> None:
    """Replace a job's statement; a block is never left empty."""
    span = context.source.span(call)
    context.edits.take(span, context.source.text)
    context.replace(call, "pass")
    for use in context.uses:
        start, end = context.source.span(use.node)
        if span[0] <= start and end <= span[1]:
            use.removed = use.rewritten = True
    lines = range(context.source.line_at(span[0]), context.source.line_at(span[1]) + 1)
    context.leftovers = [leftover for leftover in context.leftovers if leftover.line not in lines]


REWRITE = Rewrite(name="schedulers", whole_file=rewrite)
