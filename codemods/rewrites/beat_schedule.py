"""Beat schedules: the plan's entries where the unified beat reads them, and no legacy entry anywhere.

A legacy entry whose place the unified beat reads becomes the plan's there (:mod:`codemods.schedules.places`); other
replaced and retired ones are removed, and with its last entry an assignment to ``app.conf``, which would win over the
settings. Entries of the plan that stand nowhere are added to the dict that counts.
Source: ``celery/beat.py`` (entry keys), ``celery/app/base.py`` (what is assigned to ``conf`` wins).
"""

from __future__ import annotations

import libcst as cst

from codemods.calls.beat_entries import become, items_of, keep_times, remove_from, rewrite_entry
from codemods.calls.beat_mappings import Done, fate, is_schedule, rewrite_mapping, rewrite_value
from codemods.editing.context import FileContext
from codemods.editing.forgetting import forget, remove_and_forget
from codemods.editing.literals import argument, replace_string
from codemods.editing.sequences import remove_items
from codemods.protocol import Rewrite
from codemods.resolve.name_resolution import text_of
from codemods.schedules.schedule_text import quoted
from migrator.inventory.beat_entries import is_schedule_setting

#: Calls that take settings, by keyword or as a dict.
_TAKE_SETTINGS = frozenset({"update", "config_from_object", "add_defaults", "Celery", "dict"})


def rewrite(context: FileContext) -> None:
    """Rewrite the schedules of a file."""
    done: Done = {}
    filled = _filled(context)
    for assignment in context.tree.assignments:
        value = assignment.value
        targets = _targets(assignment)
        for target in targets if value is not None else ():
            assert value is not None
            if is_schedule(target):
                if rewrite_value(context, value, done) and len(targets) == 1 and _name(value) not in filled:
                    _remove_assignment(context, assignment, target)
            elif isinstance(target, cst.Subscript) and (is_schedule(target.value) or _name(target.value) in filled):
                element = target.slice[0].slice
                _item(context, assignment, element.value if isinstance(element, cst.Index) else None, value)
            elif isinstance(value, cst.Dict):
                _in_settings(context, value, done)
    for call in context.tree.calls:
        _called(context, call, done)


def _targets(node: cst.Assign | cst.AnnAssign | cst.AugAssign) -> list[cst.BaseExpression]:
    return [t.target for t in node.targets] if isinstance(node, cst.Assign) else [node.target]


def _name(node: cst.CSTNode | None) -> str:
    return node.value if isinstance(node, cst.Name) else ""


def _filled(context: FileContext) -> set[str]:
    """Return the names that a schedule is given and that entries are put into one by one."""
    found = [(target, node.value) for node in context.tree.assignments for target in _targets(node)]
    given = {_name(value) for target, value in found if is_schedule(target) and value is not None} - {""}
    return given & {_name(target.value) for target, _ in found if isinstance(target, cst.Subscript)}


def _called(context: FileContext, call: cst.Call, done: Done) -> None:
    """``schedule.update(…)``, ``schedule.setdefault("name", …)``, ``conf.update(…)``, ``add_periodic_task(…)``."""
    function = call.func
    name = function.attr.value if isinstance(function, cst.Attribute) else getattr(function, "value", "")
    if isinstance(function, cst.Attribute) and name == "add_periodic_task":
        _periodic(context, call)
    elif isinstance(function, cst.Attribute) and is_schedule(function.value):
        if name == "setdefault" and len(call.args) > 1:
            _item(context, call, call.args[0].value, call.args[1].value)
        elif name == "update":
            for arg in call.args:
                if arg.keyword is None:
                    rewrite_value(context, arg.value, done)
            rewrite_mapping(context, call)
    elif name in _TAKE_SETTINGS:
        gone = []
        for arg in call.args:
            if arg.keyword is None and isinstance(arg.value, cst.Dict):
                _in_settings(context, arg.value, done)
            elif arg.keyword is not None and is_schedule_setting(arg.keyword.value):
                gone += [arg] if rewrite_value(context, arg.value, done) else []
        if gone and len(gone) == len(call.args) and isinstance(context.parent(call), cst.Expr):
            remove_and_forget(context, call)
        elif gone:
            forget(context, [context.source.span(arg.value) for arg in gone])
            remove_items(context, call.args, gone)


def _in_settings(context: FileContext, settings: cst.Dict, done: Done) -> None:
    """``{"beat_schedule": {…}}``."""
    named = [item for item in items_of(settings) if is_schedule_setting(item.name)]
    gone = [item for item in named if rewrite_value(context, item.value, done)]
    if gone:
        remove_from(context, settings, gone)


def _item(context: FileContext, place: cst.CSTNode, key: cst.BaseExpression | None, value: cst.BaseExpression) -> None:
    """``beat_schedule["name"] = {…}``, ``beat_schedule.setdefault("name", {…})``."""
    name = text_of(key)
    if name is None or key is None:
        context.leave(place, "SCHEDULE-COMPUTED")
        return
    planned, goes = fate(context, name)
    if goes:
        remove_and_forget(context, place)
        return
    with context.attempt(place):
        if planned is None:
            rewrite_entry(context, value)
        else:
            become(context, value, planned)
            if isinstance(key, cst.SimpleString):
                replace_string(context, key, planned.name)
            elif name != planned.name:
                context.replace(key, quoted(planned.name))


def _periodic(context: FileContext, call: cst.Call) -> None:
    """``sender.add_periodic_task(10.0, task.s(), name="name")``; without a name it is that of the task."""
    named, signature = argument(call, 99, "name"), argument(call, 1, "sig")
    when = argument(call, 0, "schedule")
    if signature is None or when is None:
        return
    name = text_of(named.value) if named is not None else _signed(signature.value)
    planned, goes = fate(context, name or "")
    if goes and isinstance(context.parent(call), cst.Expr):
        remove_and_forget(context, call)
    elif planned is not None:
        with context.attempt(call):
            keep_times(context, when.value, planned)
            if named is None:
                context.insert_after(call.args[-1].value, f", name={quoted(planned.name)}")
            elif name != planned.name:
                context.replace(named.value, quoted(planned.name))


def _signed(node: cst.BaseExpression) -> str:
    """Return the name of the task in ``task.s(…)`` or ``signature("name")``."""
    if not isinstance(node, cst.Call):
        return ""
    if isinstance(node.func, cst.Attribute) and node.func.attr.value in {"s", "si", "signature"}:
        task = node.func.value
        return task.attr.value if isinstance(task, cst.Attribute) else getattr(task, "value", "")
    return text_of(node.args[0].value) or "" if node.args else ""


def _remove_assignment(context: FileContext, statement: cst.CSTNode, target: cst.BaseExpression) -> None:
    """Remove an assignment that gives nothing any more, unless something may need the name itself."""
    if isinstance(target, cst.Name):
        scope = context.tree.scopes.get(target)
        inherits = any(
            isinstance(i, cst.ImportFrom) and isinstance(i.names, cst.ImportStar) for i in context.tree.imports
        )
        if context.tree.reads_of(target) or not (inherits or (scope and isinstance(scope.node, cst.ClassDef))):
            return
    remove_and_forget(context, statement)


REWRITE = Rewrite(name="beat_schedule", whole_file=rewrite)
