"""Options of a send: what each of Dramatiq's and Celery's becomes, and which have no equivalent."""

from __future__ import annotations

import libcst as cst

from codemods.calls.arguments import adapt_literals
from codemods.calls.queues import write_queue
from codemods.editing.context import FileContext, LeaveError, Use
from codemods.editing.sequences import remove_items
from codemods.editing.units import seconds
from codemods.plan.plan_index import Target
from codemods.resolve.name_resolution import text_of

#: Milliseconds in Dramatiq, seconds under this name in Celery.
_TIMES = {"delay": "countdown", "max_age": "expires", "time_limit": "soft_time_limit"}


#: Read by Dramatiq's middleware, without an equivalent per call.
_NO_EQUAL = frozenset(
    {"max_retries", "min_backoff", "max_backoff", "backoff_jitter", "jitter", "retry_when", "throws", "retries"}
    | {"on_retry_exhausted", "on_success", "on_failure", "pipe_ignore", "pipe_target", "notify_shutdown", "result_ttl"}
    | {
        "broker_priority",
        "eta",
        "store_results",
        "group_callback_barrier_ttl",
        "group_callbacks",
        "group_callback_uuid",
    }
)


_POSITIONS = ("args", "kwargs", "task_id", "producer", "link", "link_error", "shadow")


def convert_options(context: FileContext, call: cst.Call, use: Use) -> None:
    """Rewrite the options of a call, or of an assertion about one."""
    given = _given(call, ())
    ignored = [arg for name, arg in given.items() if name not in {"args", "kwargs"} | _TIMES.keys() | _NO_EQUAL]
    for name, arg in given.items():
        if name in _NO_EQUAL:
            raise LeaveError("OPTION", arg, name)
        if name in _TIMES:
            assert arg.keyword is not None
            context.replace(arg.keyword, _TIMES[name])
            text = seconds(context, arg.value, timedelta_allowed=name == "delay")
            if text != context.source.code(arg.value):
                context.replace(arg.value, text)
    for arg in ignored:
        assert arg.keyword is not None
        context.leave(arg, "OPTION-IGNORED", arg.keyword.value)
    _adapt(context, call, use, given, also_removed=ignored)


def adapt_options(context: FileContext, call: cst.Call, use: Use) -> None:
    """Adapt the arguments and routing of an ``apply_async``, or of an assertion about one."""
    given = _given(call, _POSITIONS)
    check_routing(context, given, use.target)
    _adapt(context, call, use, given, also_removed=[])


def _adapt(
    context: FileContext, call: cst.Call, use: Use, given: dict[str, cst.Arg], *, also_removed: list[cst.Arg]
) -> None:
    """Rewrite ``args=(…), kwargs={…}`` as the plan says and remove arguments that are gone."""
    args, kwargs = given.get("args"), given.get("kwargs")
    result = adapt_literals(context, use.targets, args.value if args else None, kwargs.value if kwargs else None)
    removed = list(also_removed)
    if result is not None and (args or kwargs or result):
        text = "kwargs={" + ", ".join(f'"{name}": {value}' for name, value in result.items()) + "}"
        first = args or kwargs
        if first is None:
            start = context.source.bare_span(call)[1] - 1
            context.replace_span(start, start, (", " if call.args else "") + text)
        elif first.keyword is not None or first is kwargs:
            context.replace(first, text)
        else:
            context.replace(first, text if len(call.args) == 1 or call.args[1].keyword else f"None, {text[7:]}")
            if kwargs is not None and kwargs.keyword is None and first is args:
                removed.append(kwargs)
        if args and kwargs and kwargs.keyword is not None:
            removed.append(kwargs)
    remove_items(context, call.args, removed)


def _given(call: cst.Call, positions: tuple[str, ...]) -> dict[str, cst.Arg]:
    found: dict[str, cst.Arg] = {}
    for index, arg in enumerate(call.args):
        if arg.star:
            raise LeaveError("OPTIONS-UNPACKED", arg)
        if arg.keyword is None:
            if index >= len(positions):
                raise LeaveError("ARGUMENTS", arg, "an option by position")
            found[positions[index]] = arg
        else:
            found[arg.keyword.value] = arg
    return found


def check_routing(context: FileContext, given: dict[str, cst.Arg], target: Target | None = None) -> None:
    """Write the unified queue where an option names a legacy one.

    Raises:
        LeaveError: It names a queue that no unified worker reads.
    """
    if (queue := given.get("queue")) is not None:
        write_queue(context, queue.value, target)
    for name in ("routing_key", "exchange"):
        arg = given.get(name)
        if arg is not None and text_of(arg.value) not in context.index.unified_queues:
            raise LeaveError("QUEUE-OPTION", arg, context.source.code(arg.value))
    if "priority" in given and isinstance(given["priority"].value, cst.Integer):
        context.leave(given["priority"], "PRIORITY-OPTION")
