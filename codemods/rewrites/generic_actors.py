"""Class-based actors that the plan maps to themselves become Celery tasks of the same name.

The class inherits from ``Task`` instead of ``GenericActor``, so its methods and attributes stay reachable; its
``Meta`` becomes the options of ``shared_task``, which makes ``perform`` the task's body. Abstract bases of the same
file come along. Source: ``dramatiq/generic.py``, ``celery/app/base.py`` ``_task_from_fun`` (``base``, ``bind``).
"""

from __future__ import annotations

import re

import libcst as cst

from codemods.calls.actor_classes import check_body, generic_base, lineage, meta_of, options_of
from codemods.calls.actor_options import task_options
from codemods.calls.task_support import keep_comments, note_definition, result_last_wrapper
from codemods.editing.context import FileContext, LeaveError
from codemods.plan.plan_index import Target
from codemods.protocol import Rewrite

_BLANK = re.compile(rb"(?:[ \t]*\r?\n)*")


def rewrite(context: FileContext) -> None:
    """Convert the class-based actors of a file: classes together with their bases, or none of them."""
    lines: list[list[cst.ClassDef]] = []
    for node in context.tree.definitions:
        if isinstance(node, cst.ClassDef) and isinstance(context.parent(node), cst.Module):
            line = lineage(context, node)
            if line:
                lines.append(line)
            elif (target := _target(context, node)) is not None and not target.converted:
                context.leave(
                    node, "ACTOR-OPTION", "its base is in another file: move it here, or write the base as a Task"
                )
    while lines:
        family = [lines.pop(0)]
        shared = {node for line in family for node in line}
        while found := [line for line in lines if shared & set(line)]:
            family += found
            lines = [line for line in lines if line not in found]
            shared |= {node for line in found for node in line}
        if any((target := _target(context, line[0])) is not None and target.in_place for line in family):
            with context.attempt(family[0][0]):
                _convert(context, family)


def _target(context: FileContext, node: cst.ClassDef) -> Target | None:
    target = context.index.targets.get(f"{context.values.where.module}.{node.name.value}")
    return target if target is not None and target.in_place else None


def _convert(context: FileContext, family: list[list[cst.ClassDef]]) -> None:
    made = []
    for line in family:
        node, target = line[0], _target(context, line[0])
        abstract, options = options_of(line)
        if not abstract and target is None:
            raise LeaveError("ACTOR-OPTION", node, f"{node.name.value} shares a base and stays an actor")
        if f"{context.values.where.module}.{node.name.value}" in context.index.shared and abstract:
            raise LeaveError("ACTOR-OPTION", node, f"{node.name.value} is a base of classes in other files")
        if not abstract:
            assert target is not None
            _check_perform(node, line)
            parts = task_options(context, target, options, node)
            made.append((node, target, parts))
    base = context.result.support.base if any(part.startswith("base=") for *_, parts in made for part in parts) else ""
    for node in {node: None for line in family for node in line}:
        check_body(context, node, next(line for line in family if line[0] is node))
        _change_class(context, node, base)
    for node, target, parts in made:
        function = f"{node.name.value}.perform"
        _register(
            context, node, parts, f"{result_last_wrapper(context)}({function})" if target.result_last else function
        )
        note_definition(context, node, target.path)
    for line in family:
        note_definition(context, line[0], "")


def _check_perform(node: cst.ClassDef, line: list[cst.ClassDef]) -> None:
    bodies = [s for c in line for s in c.body.body if isinstance(s, cst.FunctionDef) and s.name.value == "perform"]
    if not bodies or bodies[0].asynchronous is not None or bodies[0].decorators:
        raise LeaveError("ACTOR-OPTION", node, "its perform is elsewhere, decorated or a coroutine")


def _change_class(context: FileContext, node: cst.ClassDef, base: str) -> None:
    """Give a class its new base and remove its ``Meta``."""
    old = generic_base(context, node)
    if old is not None:
        context.replace(old, base or context.local_import("celery", "Task"))
        context.result.replaced.append(old)
    meta = meta_of(node)
    if meta is None:
        return
    keep_comments(context, meta, node)
    if len(node.body.body) == 1:
        context.replace(meta, "pass")
        return
    text = context.source.text
    start, end = context.source.span(meta)
    start = text.rfind(b"\n", 0, start) + 1
    end = end if text[end - 1 : end] == b"\n" else text.find(b"\n", end) + 1 or len(text)
    if node.body.body[-1] is not meta and (blank := _BLANK.match(text, end)) is not None:
        end = blank.end()
    elif node.body.body[-1] is meta:
        start = len(text[:start].rstrip()) + len(context.source.newline())
    context.replace_span(start, end, "")


def _register(context: FileContext, node: cst.ClassDef, parts: list[str], function: str) -> None:
    name, newline = node.name.value, context.source.newline()
    parts = [part for part in parts if not part.startswith("base=")]
    shared = context.local_import("celery", "shared_task")
    text = f"{name} = {shared}({parts[0]}, base={name}, bind=True, {', '.join(parts[1:])})({function})"
    end = context.source.span(node)[1]
    body = context.source.text
    end = end if body[end - 1 : end] == b"\n" else body.find(b"\n", end) + 1 or len(body)
    lead = "" if body[:end].endswith(b"\n") else newline
    context.replace_span(end, end, f"{lead}{newline}{newline}{text}{newline}")


REWRITE = Rewrite(name="generic_actors", whole_file=rewrite, defines=True)
