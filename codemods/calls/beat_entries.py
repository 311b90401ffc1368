"""One entry of a beat schedule, written as a dict, as ``dict(…)`` or as ``ScheduleEntry(…)``.

An entry whose place the plan's entry takes keeps what it says: its options, the form of its arguments and its schedule.
Only what means something else than the plan is written anew, and told.
Source: ``celery/beat.py`` (an entry is what ``ScheduleEntry(**entry)`` takes), ``celery/schedules.py``.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import libcst as cst

from codemods.calls.arguments import adapt_literals, as_mapping
from codemods.calls.routes import route
from codemods.calls.task_naming import constants_of
from codemods.editing.context import FileContext, LeaveError
from codemods.editing.forgetting import forget
from codemods.editing.literals import replace_string
from codemods.editing.sequences import remove_items
from codemods.plan.plan_index import Target
from codemods.resolve.constants import texts_of
from codemods.resolve.name_resolution import text_of
from codemods.schedules.beat_times import beat_times
from codemods.schedules.job_triggers import means
from codemods.schedules.schedule_text import literal, quoted, schedule
from codemods.syntax.scopes import BindingKind
from migrator.errors import AdaptationError
from migrator.plan.arguments import adapt
from migrator.plan.model import ScheduleEntry

_ENTRIES = frozenset({"celery.beat.ScheduleEntry"})
_CRONTAB = ("celery.schedules", "crontab")


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a mapping as it is written: an element of a dict, or a keyword of a call."""

    #: Empty where it is computed or unpacked.
    name: str
    holder: cst.BaseDictElement | cst.Arg
    value: cst.BaseExpression


def is_dict_call(context: FileContext, node: cst.CSTNode) -> bool:
    """Tell whether an expression is a call of the builtin ``dict``."""
    return isinstance(node, cst.Call) and context.values.only(node.func) == "builtins.dict"


def items_of(node: cst.Dict | cst.Call) -> list[Item]:
    """Return the items of a dict or of a call that makes one."""
    if isinstance(node, cst.Dict):
        return [Item(text_of(e.key) or "" if isinstance(e, cst.DictElement) else "", e, e.value) for e in node.elements]
    return [Item(arg.keyword.value if arg.keyword else "", arg, arg.value) for arg in node.args]


def remove_from(context: FileContext, node: cst.Dict | cst.Call, going: Sequence[Item]) -> None:
    """Remove items with the comments above them; what is edited in them is forgotten."""
    holders = [item.holder for item in going]
    if isinstance(node, cst.Call):
        forget(context, [context.source.span(item.value) for item in going])
        remove_items(context, node.args, holders)
        return
    forget(context, [(_start(context, item.holder), context.source.span(item.value)[1]) for item in going])
    if len(going) == len(node.elements):
        context.replace(node, "{}")
        return
    lead = next(index for index, element in enumerate(node.elements) if element not in holders)
    if lead:
        context.replace_span(_start(context, node.elements[0]), _start(context, node.elements[lead]), "")
    for before, element in zip(node.elements[lead:], node.elements[lead + 1 :], strict=False):
        if element in holders:
            context.replace_span(_end(context, before), _end(context, element), "")


def _start(context: FileContext, element: cst.CSTNode) -> int:
    return context.source.span(element.key if isinstance(element, cst.DictElement) else element)[0]


def _end(context: FileContext, element: cst.CSTNode) -> int:
    """Return where an entry ends, its comma included."""
    assert isinstance(element, (cst.DictElement, cst.StarredDictElement))
    end = context.source.span(element.value)[1]
    return context.source.text.index(b",", end) + 1 if isinstance(element.comma, cst.Comma) else end


def rewrite_entry(context: FileContext, value: cst.BaseExpression) -> None:
    """Rename the task of one entry and adapt its arguments.

    Raises:
        LeaveError: The task is retired, or its arguments can't be followed.
    """
    value = _entry_of(context, value)
    given = _parts(context, value)
    named = given.get("task")
    target = _target(context, named.value) if named is not None else None
    if named is None or target is None:
        return
    if target.retired:
        raise LeaveError("RETIRED-TASK", named.holder, f"{target.name}: {target.reason}")
    if "options" in given:
        _options(context, given["options"].value, target)
    _adapt(context, value, given, target)
    _name(context, named.value, target.unified)


def become(context: FileContext, value: cst.BaseExpression, planned: ScheduleEntry) -> None:
    """Make one entry the plan's.

    Raises:
        LeaveError: It can't be followed.
    """
    value = _entry_of(context, value)
    given = _parts(context, value)
    named = given.get("task")
    if named is None or "schedule" not in given:
        raise LeaveError("SCHEDULE-COMPUTED", value, planned.name)
    target = _target(context, named.value)
    if "options" in given:
        _options(context, given["options"].value, target)
    if target is not None and target.unified == planned.task:
        differ = _arguments_differ(context, target, planned, given)
        if not differ:
            _adapt(context, value, given, target)
        _name(context, named.value, planned.task)
    else:
        other = _texts(context, named.value) != {planned.task}
        differ = other or _arguments_differ(context, None, planned, given)
        if other:
            context.leave(named.value, "SCHEDULE-DIFFERS", f"another task here, {planned.task} in the plan")
            context.replace(named.value, quoted(planned.task))
    if differ:
        _write_arguments(context, value, given, literal(dict(planned.kwargs)) if planned.kwargs else "")
        context.leave(value, "SCHEDULE-DIFFERS", f"other arguments here than {planned.name} has in the plan")
    keep_times(context, given["schedule"].value, planned)


def crontab_name(context: FileContext) -> str:
    """Return the name under which ``crontab`` can be used, and import it if it isn't imported."""
    for name, found in context.tree.module.bindings.items():
        if any(b.statement is not None and context.values.imported(b) == ".".join(_CRONTAB) for b in found):
            return name
    return context.local_import(*_CRONTAB)


def _entry_of(context: FileContext, node: cst.BaseExpression) -> cst.BaseExpression:
    """Return the entry behind a constant of the file that stands for it and for nothing else."""
    found = context.values.bindings(node) if isinstance(node, cst.Name) else ()
    if len(found) != 1 or found[0].kind is not BindingKind.ASSIGN or found[0].value is None:
        return node
    return found[0].value if len(context.tree.reads_of(found[0].node)) == 1 else node


def _parts(context: FileContext, value: cst.BaseExpression) -> dict[str, Item]:
    if isinstance(value, cst.Call):
        if not is_dict_call(context, value) and context.values.only(value.func) not in _ENTRIES:
            return {}
    elif not isinstance(value, cst.Dict):
        return {}
    return {item.name: item for item in items_of(value) if item.name}


def _target(context: FileContext, node: cst.BaseExpression) -> Target | None:
    """Return the task that an entry names: by its name, by a constant that holds it, or by ``task.name``."""
    use = context.uses.of_attribute(node)
    if use is not None:
        return use.target if use.rewritten and len(use.targets) == 1 else None
    texts = _texts(context, node)
    return context.index.named(next(iter(texts))) if len(texts) == 1 else None


def _texts(context: FileContext, node: cst.BaseExpression) -> frozenset[str]:
    return texts_of(context.values, node, context.index.root, context.index.settings)


def _name(context: FileContext, node: cst.BaseExpression, name: str) -> None:
    """Write a task's name; ``task.name`` and a constant that gets the new name itself stay."""
    if isinstance(node, cst.SimpleString):
        replace_string(context, node, name)
    elif context.uses.of_attribute(node) is None and not constants_of(context, node) - context.index.open_constants:
        context.replace(node, quoted(name))


def _options(context: FileContext, node: cst.BaseExpression, target: Target | None) -> None:
    """Adapt the queue among an entry's options, also where they are a constant of the file."""
    if isinstance(node, cst.Name):
        found = context.values.bindings(node)
        value = found[0].value if len(found) == 1 and found[0].kind is BindingKind.ASSIGN else None
        if value is not None:
            node = value
    if isinstance(node, cst.Dict) or is_dict_call(context, node):
        route(context, node, target)
    else:
        context.leave(node, "SCHEDULE-COMPUTED", "options: see that they name no legacy queue")


def _adapt(context: FileContext, value: cst.BaseExpression, given: dict[str, Item], target: Target) -> None:
    args, kwargs = given.get("args"), given.get("kwargs")
    result = adapt_literals(context, (target,), args.value if args else None, kwargs.value if kwargs else None)
    if result is not None and (args or kwargs):
        text = "{" + ", ".join(f'"{name}": {item}' for name, item in result.items()) + "}"
        _write_arguments(context, value, given, text)


def _write_arguments(context: FileContext, value: cst.BaseExpression, given: dict[str, Item], text: str) -> None:
    """Write an entry's arguments as keywords; none for an empty text."""
    assert isinstance(value, (cst.Dict, cst.Call))
    theirs = [given[name] for name in ("args", "kwargs") if name in given]
    if not text:
        if theirs:
            remove_from(context, value, theirs)
        return
    if not theirs:
        key = '"kwargs": ' if isinstance(value, cst.Dict) else "kwargs="
        context.insert_after(given["schedule"].value, f", {key}{text}")
        return
    rename(context, theirs[0], "kwargs")
    context.replace(theirs[0].value, text)
    if len(theirs) > 1:
        remove_from(context, value, theirs[1:])


def rename(context: FileContext, item: Item, name: str) -> None:
    """Give an item another key; a keyword that can't be one becomes part of an unpacked dict."""
    if item.name == name:
        return
    if isinstance(item.holder, cst.DictElement):
        if isinstance(item.holder.key, cst.SimpleString):
            replace_string(context, item.holder.key, name)
        else:
            context.replace(item.holder.key, quoted(name))
        return
    assert isinstance(item.holder, cst.Arg) and item.holder.keyword is not None
    if name.isidentifier():
        context.replace(item.holder.keyword, name)
        return
    start = context.source.span(item.holder)[0]
    context.replace_span(start, context.source.span(item.value)[0], f"**{{{quoted(name)}: ")
    context.insert_after(item.value, "}")


def _arguments_differ(
    context: FileContext, target: Target | None, planned: ScheduleEntry, given: dict[str, Item]
) -> bool:
    """True if the arguments are written out and mean others than the plan's; one that says none has no opinion."""
    try:
        args, kwargs = list(_value(context, given.get("args"), [])), dict(_value(context, given.get("kwargs"), {}))
    except (ValueError, TypeError):
        return False
    return means_other_arguments(context, target, planned, args, kwargs)


def means_other_arguments(
    context: FileContext, target: Target | None, planned: ScheduleEntry, args: list[Any], kwargs: dict[str, Any]
) -> bool:
    """True if legacy arguments are others than those that the plan's entry has, if it has any."""
    if not planned.kwargs:
        return False
    try:
        named = [t.unified_parameters for t in context.index.targets.values() if t.unified == planned.task]
        if target is not None and target.operations:
            kwargs = adapt(as_mapping(target), args, kwargs)[1]
            args = []
    except (ValueError, TypeError, AdaptationError):
        return False
    mine = {**dict(zip(named[0] if named else (), args, strict=False)), **kwargs}
    return json.dumps(mine, sort_keys=True, default=repr) != json.dumps(
        dict(planned.kwargs), sort_keys=True, default=repr
    )


def _value(context: FileContext, item: Item | None, default: Any) -> Any:
    """Return a literal.

    Raises:
        ValueError: It is none.
    """
    if item is None:
        return default
    try:
        return ast.literal_eval(context.source.code(item.value)) or default
    except SyntaxError as error:
        raise ValueError(str(error)) from error


def keep_times(context: FileContext, node: cst.BaseExpression, planned: ScheduleEntry) -> None:
    """Keep a schedule that means the plan's, or one that the plan can't state; write the plan's otherwise."""
    text = beat_times(context, node)
    if not text:
        context.leave(node, "SCHEDULE-KEPT", f"{context.source.code(node)}, for {planned.name}")
    elif not means(text, planned):
        context.leave(node, "SCHEDULE-DIFFERS", f"{text} here, {planned.name} in the plan")
        context.replace(node, schedule(planned, crontab_name(context) if planned.crontab else ""))
