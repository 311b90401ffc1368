"""Legacy beat entries outside the settings: replaced and retired ones are removed, the others get unified names.

Afterwards the settings module alone owns the schedule (:mod:`codemods.rewrites.settings`).
Source: ``celery/beat.py`` (entry keys), ``celery/app/defaults.py`` (old and new setting names).
"""

from __future__ import annotations

import libcst as cst

from codemods.calls.arguments import adapt_literals
from codemods.calls.routes import route
from codemods.calls.schedule_calls import is_dict_call, rewrite_dict_call, rewrite_entry_call
from codemods.editing.context import FileContext, LeaveError
from codemods.editing.literals import replace_string
from codemods.plan.plan_index import Target
from codemods.protocol import Rewrite
from codemods.resolve.name_resolution import text_of

SETTINGS = frozenset({"CELERY_BEAT_SCHEDULE", "CELERYBEAT_SCHEDULE", "BEAT_SCHEDULE", "beat_schedule"})


def rewrite(context: FileContext) -> None:
    """Rewrite the schedules of a file."""
    own = context.values.where.module
    for assignment in context.tree.assignments:
        targets = [t.target for t in assignment.targets] if isinstance(assignment, cst.Assign) else [assignment.target]
        for target in targets:
            if assignment.value is None:
                continue
            if is_schedule(target):
                for value in mappings(context, assignment.value):
                    rewrite_mapping(context, value, own)
            elif isinstance(target, cst.Subscript) and is_schedule(target.value):
                _item(context, assignment, target, own)
    for call in context.tree.calls:
        if isinstance(call.func, cst.Attribute) and call.func.attr.value in {"update", "setdefault"}:
            _called(context, call, call.func, own)


def _called(context: FileContext, call: cst.Call, function: cst.Attribute, module: str) -> None:
    """``schedule.update(…)``, ``schedule.setdefault("name", …)``, ``conf.update(beat_schedule=…)`` or with a dict."""
    plain = is_schedule(function.value)
    given: list[cst.BaseExpression] = []
    if function.attr.value == "setdefault":
        if plain and len(call.args) > 1:
            name = text_of(call.args[0].value)
            if name is None or f"{module}:{name}" in context.index.schedule:
                context.leave(call, "SCHEDULE-COMPUTED", name or "")
                return
            with context.attempt(call):
                rewrite_entry(context, call.args[1].value)
        return
    for arg in call.args:
        if plain if arg.keyword is None else arg.keyword.value in SETTINGS:
            given.append(arg.value)
        elif arg.keyword is None and isinstance(arg.value, cst.Dict):
            pairs = [e for e in arg.value.elements if isinstance(e, cst.DictElement)]
            given += [pair.value for pair in pairs if text_of(pair.key) in SETTINGS]
    for value in given:
        for mapping in mappings(context, value):
            rewrite_mapping(context, mapping, module)
    if plain:
        rewrite_dict_call(context, call, lambda name: f"{module}:{name}" in context.index.schedule, rewrite_entry)


def is_schedule(node: cst.CSTNode) -> bool:
    """Tell whether an expression names a beat schedule."""
    if isinstance(node, cst.Name):
        return node.value in SETTINGS
    if isinstance(node, cst.Subscript) and len(node.slice) == 1 and isinstance(node.slice[0].slice, cst.Index):
        return text_of(node.slice[0].slice.value) in SETTINGS
    return isinstance(node, cst.Attribute) and node.attr.value in SETTINGS


def mappings(context: FileContext, node: cst.BaseExpression, depth: int = 0) -> list[cst.Dict | cst.Call]:
    """Return the dicts that make up a schedule, literals and calls: itself, constants, unpacked parts."""
    if depth > 5:
        return []
    if isinstance(node, cst.Name):
        found = context.values.bindings(node)
        values = [b.value for b in found if b.value is not None]
        return [m for value in values for m in mappings(context, value, depth + 1)]
    if isinstance(node, cst.BinaryOperation):
        return mappings(context, node.left, depth + 1) + mappings(context, node.right, depth + 1)
    if isinstance(node, cst.Dict):
        inner = [e.value for e in node.elements if isinstance(e, cst.StarredDictElement)]
        return [node, *(m for value in inner for m in mappings(context, value, depth + 1))]
    if isinstance(node, cst.Call) and is_dict_call(context, node):
        inner = [arg.value for arg in node.args if arg.keyword is None and arg.star != "*"]
        return [node, *(m for value in inner for m in mappings(context, value, depth + 1))]
    return []


def rewrite_mapping(context: FileContext, node: cst.Dict | cst.Call, module: str) -> None:
    """Remove the entries that are replaced or retired and rename those that stay."""
    if isinstance(node, cst.Call):
        rewrite_dict_call(context, node, lambda name: f"{module}:{name}" in context.index.schedule, rewrite_entry)
        return
    going = [e for e in node.elements if _fate(context, e, module)]
    for element in node.elements:
        if element not in going and isinstance(element, cst.DictElement):
            with context.attempt(element):
                rewrite_entry(context, element.value)
    if going and len(going) == len(node.elements):
        context.replace(node, "{}")
    elif going:
        _remove(context, node, going)


def _fate(context: FileContext, element: cst.BaseDictElement, module: str) -> str:
    name = text_of(element.key) if isinstance(element, cst.DictElement) else None
    return context.index.schedule.get(f"{module}:{name}", "") if name else ""


def _remove(context: FileContext, node: cst.Dict, going: list[cst.BaseDictElement]) -> None:
    """Remove entries with the comments above them; at least one stays."""
    lead = next(index for index, element in enumerate(node.elements) if element not in going)
    if lead:
        context.replace_span(_start(context, node.elements[0]), _start(context, node.elements[lead]), "")
    for before, element in zip(node.elements[lead:], node.elements[lead + 1 :], strict=False):
        if element in going:
            context.replace_span(_end(context, before), _end(context, element), "")


def _start(context: FileContext, element: cst.BaseDictElement) -> int:
    return context.source.span(element.key if isinstance(element, cst.DictElement) else element)[0]


def _end(context: FileContext, element: cst.BaseDictElement) -> int:
    """Return where an entry ends, its comma included."""
    end = context.source.span(element.value)[1]
    return context.source.text.index(b",", end) + 1 if isinstance(element.comma, cst.Comma) else end


def rewrite_entry(context: FileContext, value: cst.BaseExpression) -> None:
    """Rename the task of one entry and adapt its arguments.

    Raises:
        LeaveError: The task is retired, or its arguments can't be followed.
    """
    if isinstance(value, cst.Call):
        rewrite_entry_call(context, value)
    if not isinstance(value, cst.Dict):
        return
    given = {text_of(e.key): e for e in value.elements if isinstance(e, cst.DictElement)}
    named = given.get("task")
    target = _target(context, named.value) if named is not None else None
    if named is None or target is None:
        return
    if target.retired:
        raise LeaveError("RETIRED-TASK", named, f"{target.name}: {target.reason}")
    if "options" in given:
        route(context, given["options"].value)
    args, kwargs = given.get("args"), given.get("kwargs")
    result = adapt_literals(context, (target,), args.value if args else None, kwargs.value if kwargs else None)
    if isinstance(named.value, cst.SimpleString):
        replace_string(context, named.value, target.unified)
    if result is None or not (args or kwargs):
        return
    text = "{" + ", ".join(f'"{name}": {item}' for name, item in result.items()) + "}"
    first = args or kwargs
    assert first is not None
    if isinstance(first.key, cst.SimpleString):
        replace_string(context, first.key, "kwargs")
    context.replace(first.value, text)
    if args and kwargs:
        _remove(context, value, [kwargs])


def _target(context: FileContext, node: cst.BaseExpression) -> Target | None:
    """Return the task that an entry names: by its name, or by ``task.name``."""
    if isinstance(node, cst.SimpleString):
        return context.index.named(text_of(node) or "")
    use = context.uses.of_attribute(node)
    return use.target if use is not None and use.rewritten and len(use.targets) == 1 else None


def _item(context: FileContext, statement: cst.CSTNode, target: cst.Subscript, module: str) -> None:
    """``beat_schedule["name"] = {…}``."""
    element = target.slice[0].slice
    name = text_of(element.value) if isinstance(element, cst.Index) else None
    value = statement.value if isinstance(statement, cst.Assign) else None
    if name is None or value is None:
        context.leave(statement, "SCHEDULE-COMPUTED")
    elif f"{module}:{name}" in context.index.schedule:
        context.replace(statement, "pass")
    else:
        with context.attempt(statement):
            rewrite_entry(context, value)


REWRITE = Rewrite(name="beat_schedule", whole_file=rewrite)
