"""Class-based actors of one file: what they inherit, which options their ``Meta`` gives, what their bodies need.

Source: ``dramatiq/generic.py``: the nearest ``Meta`` counts, and only what it sets itself; the class becomes its one
instance, and attributes that this doesn't have are looked up on the actor.
"""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from codemods.editing.context import FileContext, LeaveError
from codemods.resolve.name_resolution import enclosing

GENERIC = frozenset({"dramatiq.GenericActor", "dramatiq.generic.GenericActor"})
#: Attributes that an instance finds on its actor.
_ACTORS = frozenset(
    {"logger", "broker", "actor_name", "queue_name", "priority", "options", "fn", "message", "message_with_options"}
    | {"send_with_options", "send", "__actor__", "__name__"}
)
#: Names that mean something else to a Celery task.
_TASKS = frozenset(
    {"AsyncResult", "Request", "Strategy", "abstract", "acks_late", "add_around", "add_to_chord", "add_trail"}
    | {"after_return", "annotate", "app", "apply", "apply_async", "backend", "before_start", "bind", "chunks", "delay"}
    | {"expires", "from_config", "ignore_result", "map", "max_retries", "name", "on_bound", "on_failure", "on_replace"}
    | {"on_retry", "on_success", "pop_request", "priority", "push_request", "queue", "rate_limit", "replace", "request"}
    | {"request_stack", "retry", "retry_when", "run", "s", "send_event", "serializer", "shadow_name", "si"}
    | {"signature", "soft_time_limit", "starmap", "subtask", "throws", "time_limit", "trail", "typing", "update_state"}
    | {"call_back", "success_task", "failure_task", "exhausted_task", "__call__", "__getattr__", "__getattribute__"}
)


def generic_base(context: FileContext, node: cst.ClassDef) -> cst.BaseExpression | None:
    """Return the base that is ``GenericActor`` itself, or None."""
    return next((arg.value for arg in node.bases if context.values.only(arg.value) in GENERIC), None)


def lineage(context: FileContext, node: cst.ClassDef) -> list[cst.ClassDef]:
    """Return a class and its bases in this file, nearest first; empty if none is a ``GenericActor``.

    Raises:
        LeaveError: A base may be one, but is defined in another file.
    """
    classes = {d.name.value: d for d in context.tree.definitions if isinstance(d, cst.ClassDef) and _top(context, d)}
    found, waiting = [], [node]
    generic = False
    while waiting:
        here = waiting.pop(0)
        found.append(here)
        generic |= generic_base(context, here) is not None
        for arg in here.bases:
            if isinstance(arg.value, cst.Name) and arg.value.value in classes:
                waiting.append(classes[arg.value.value])
    return list(dict.fromkeys(found)) if generic else []


def meta_of(node: cst.ClassDef) -> cst.ClassDef | None:
    """Return a class's own ``Meta``."""
    body = node.body.body
    return next((s for s in body if isinstance(s, cst.ClassDef) and s.name.value == "Meta"), None)


def options_of(line: list[cst.ClassDef]) -> tuple[bool, dict[str, cst.BaseExpression]]:
    """Return whether a class is abstract, and the options that the nearest ``Meta`` sets.

    Raises:
        LeaveError: The ``Meta`` holds more than plain values.
    """
    metas = [(node, meta) for node in line if (meta := meta_of(node)) is not None]
    if not metas:
        return False, {}
    owner, meta = metas[0]
    found: dict[str, cst.BaseExpression] = {}
    for statement in meta.body.body:
        for small in statement.body if isinstance(statement, cst.SimpleStatementLine) else [statement]:
            if isinstance(small, (cst.Pass, cst.Expr)):
                continue
            if not isinstance(small, cst.Assign) or len(small.targets) != 1:
                raise LeaveError("ACTOR-OPTION", small, "Meta holds more than plain values")
            target = small.targets[0].target
            if not isinstance(target, cst.Name):
                raise LeaveError("ACTOR-OPTION", small, "Meta holds more than plain values")
            found[target.value] = small.value
    given = found.pop("abstract", None)
    abstract = owner is line[0] and isinstance(given, cst.Name) and given.value == "True"
    return abstract, {name: value for name, value in found.items() if not name.startswith("_")}


def members(node: cst.ClassDef) -> Iterator[str]:
    """Yield the names that a class body gives a value, ``Meta`` left out."""
    for statement in node.body.body:
        if isinstance(statement, (cst.FunctionDef, cst.ClassDef)):
            yield statement.name.value
        elif isinstance(statement, cst.SimpleStatementLine):
            for small in statement.body:
                targets = [t.target for t in small.targets] if isinstance(small, cst.Assign) else []
                targets += [small.target] if isinstance(small, cst.AnnAssign) else []
                yield from (target.value for target in targets if isinstance(target, cst.Name))


def check_body(context: FileContext, node: cst.ClassDef, line: list[cst.ClassDef]) -> None:
    """Check that a class body means the same in a Celery task; ``self.send`` becomes ``self.delay``.

    Raises:
        LeaveError: It doesn't, or that can't be proved.
    """
    own = {name for item in line for name in members(item)}
    for name in sorted(set(members(node)) & _TASKS):
        raise LeaveError("ACTOR-ATTRIBUTE", node, f"{name} means something else to a Celery task")
    if node.decorators or any(arg.star or (arg.keyword is not None) for arg in (*node.bases, *node.keywords)):
        raise LeaveError("ACTOR-OPTION", node, "a class with a decorator or a metaclass")
    for attribute in context.tree.attributes:
        if not isinstance(attribute.value, cst.Name) or attribute.value.value != "self":
            continue
        name = attribute.attr.value
        if name in own or name not in _ACTORS | _TASKS or enclosing(context.tree, attribute, cst.ClassDef) is not node:
            continue
        if name != "send" or not isinstance(context.parent(attribute), cst.Call):
            raise LeaveError("ACTOR-ATTRIBUTE", attribute, name)
        context.replace(attribute.attr, "delay")


def _top(context: FileContext, node: cst.ClassDef) -> bool:
    return isinstance(context.parent(node), cst.Module)
