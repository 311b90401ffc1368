"""Dramatiq's compositions: ``pipeline``, ``group``, ``|``, ``.message`` and ``.run`` become Celery's canvas.

A pipeline appends the previous result last, a chain puts it first. A message without positional arguments of its own,
or with ``pipe_ignore``, means the same in both; so does one whose own arguments become keywords, if the result is for
the parameter that a chain gives it to. A composition is rewritten as a whole or not at all.
Source: ``dramatiq/composition.py``, ``dramatiq/middleware/pipelines.py``, ``celery/canvas.py``.
"""

from __future__ import annotations

import libcst as cst

from codemods.calls.arguments import adapt_arguments, adapt_literals
from codemods.calls.compositions import NAMES, kind_of, root_of, validate
from codemods.calls.enqueued import enqueued
from codemods.calls.results import follow_message
from codemods.calls.send_options import convert_options
from codemods.editing.context import FileContext, LeaveError, Use
from codemods.editing.units import seconds
from codemods.protocol import Rewrite
from codemods.syntax.scopes import descendants
from migrator.wire.message import System


def message(context: FileContext, use: Use) -> None:
    """Rewrite ``.message(…)`` as ``.s(…)``."""
    assert use.attribute is not None
    if use.call is None:
        raise LeaveError("ESCAPES", use.attribute)
    if enqueued(context, use):
        adapt_arguments(context, use.call, use.targets)
        context.replace(use.attribute.attr, "delay")
        return
    _composition(context, use)
    adapt_arguments(context, use.call, use.targets, by_name=use.target.result_last)
    context.replace(use.attribute.attr, "s")


def message_with_options(context: FileContext, use: Use) -> None:
    """Rewrite ``.message_with_options(args=…, pipe_ignore=True)`` as ``.si(…)``."""
    assert use.attribute is not None
    if use.call is None:
        raise LeaveError("ESCAPES", use.attribute)
    if enqueued(context, use):
        convert_options(context, use.call, use)
        context.replace(use.attribute.attr, "apply_async")
        return
    given = {arg.keyword.value: arg for arg in use.call.args if arg.keyword}
    if len(given) != len(use.call.args):
        raise LeaveError("OPTIONS-UNPACKED", use.call)
    for name, arg in given.items():
        if name not in {"args", "kwargs", "pipe_ignore"}:
            raise LeaveError("OPTION", arg, name)
    _composition(context, use)
    ignores = given.get("pipe_ignore")
    fixed = ignores is not None and isinstance(ignores.value, cst.Name) and ignores.value.value == "True"
    if (
        ignores is not None
        and not fixed
        and not (isinstance(ignores.value, cst.Name) and ignores.value.value == "False")
    ):
        raise LeaveError("OPTION", ignores, "pipe_ignore is computed")
    parts = _parts(context, use, given, by_name=use.target.result_last and not fixed)
    if use.call.args:
        start = context.source.span(use.call.args[0])[0]
        context.replace_span(start, context.source.bare_span(use.call)[1] - 1, ", ".join(parts))
    context.replace(use.attribute.attr, "si" if fixed else "s")


def _parts(context: FileContext, use: Use, given: dict[str, cst.Arg], *, by_name: bool) -> list[str]:
    """Return the task's own arguments as a call writes them."""
    args = given["args"].value if "args" in given else None
    kwargs = given["kwargs"].value if "kwargs" in given else None
    named = adapt_literals(context, use.targets, args, kwargs, by_name=by_name)
    if named is not None:
        return [f"{name}={value}" for name, value in named.items()]
    parts = []
    if isinstance(args, (cst.Tuple, cst.List)):
        parts += [("*" if isinstance(e, cst.StarredElement) else "") + context.render(e.value) for e in args.elements]
    elif args is not None:
        parts.append(f"*{context.render(args)}")
    if kwargs is not None:
        parts.append(f"**{context.render(kwargs)}")
    return parts


def _composition(context: FileContext, use: Use) -> None:
    """Rewrite what holds a message, once, if all of it can be.

    Raises:
        LeaveError: Part of it, or what is done with it, can't be followed.
    """
    assert use.call is not None
    root = root_of(context, use.call)
    if root is None:
        holder = context.parent(context.parent(use.call) or use.call)
        if isinstance(holder, cst.Call) and _is_callback(holder.func):
            raise LeaveError("COMPLETION", use.call, f"the chord's body is {_as_signature(context, use.call, 'si')}")
        raise LeaveError("PIPELINE", use.call, "a message outside of one: .delay(…) if it is sent, .s(…) if not")
    use.whole = root
    validate(context, root, piped=False)
    _run(context, root)
    for node in _calls(context, root):
        name = NAMES[kind_of(context, node)]
        text = context.local_import("celery", name, node.func)
        if context.source.code(node.func) != text:
            context.replace(node.func, text)


def _calls(context: FileContext, node: cst.CSTNode) -> list[cst.Call]:
    """Return the ``pipeline`` and ``group`` calls of a composition."""
    return [call for call in descendants(node) if isinstance(call, cst.Call) and kind_of(context, call) in NAMES]


def _run(context: FileContext, root: cst.BaseExpression) -> None:
    """Rewrite ``.run()`` of a composition, direct or through one variable."""
    parent = context.parent(root)
    if isinstance(parent, cst.Attribute) and parent.value is root:
        _run_attribute(context, root, parent)
        return
    if isinstance(parent, cst.Assign) and len(parent.targets) == 1 and isinstance(parent.targets[0].target, cst.Name):
        name = parent.targets[0].target
        for load in context.tree.reads_of(name):
            attribute = context.parent(load)
            if not isinstance(attribute, cst.Attribute) or len(context.values.bindings(load)) != 1:
                raise LeaveError("PIPELINE", load)
            _run_attribute(context, root, attribute)
        return
    raise LeaveError("PIPELINE", root)


def _run_attribute(context: FileContext, root: cst.BaseExpression, attribute: cst.Attribute) -> None:
    call = context.parent(attribute)
    if _is_callback(attribute):
        raise LeaveError("COMPLETION", attribute, _as_chord(context, root, call))
    if attribute.attr.value != "run" or not isinstance(call, cst.Call):
        raise LeaveError("PIPELINE", attribute, attribute.attr.value)
    if context.result.edits.starts_at(context.source.span(attribute.attr)[0]):
        return
    follow_message(context, call, group=kind_of(context, root) == "group")
    for arg in call.args:
        if arg.keyword is None or arg.keyword.value != "delay":
            raise LeaveError("PIPELINE", arg)
        context.replace(arg.keyword, "countdown")
        context.replace(arg.value, seconds(context, arg.value, timedelta_allowed=False))
    context.replace(attribute.attr, "apply_async")


def _is_callback(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Attribute) and node.attr.value == "add_completion_callback"


def _as_chord(context: FileContext, root: cst.BaseExpression, call: cst.CSTNode | None) -> str:
    """Return what a group with a callback would be as a chord, and what that needs."""
    callback = call.args[0].value if isinstance(call, cst.Call) and len(call.args) == 1 else None
    members = root.args[0].value if isinstance(root, cst.Call) and len(root.args) == 1 else root
    names = sorted({use.target.leaf or use.target.name for use in context.uses if use.whole is root})
    body = _as_signature(context, callback, "si") if callback is not None else "the callback's .si(…)"
    needs = f"with ignore_result=False for {', '.join(names)} and a result backend"
    return f"chord({_as_signature(context, members, 's')})({body}), {needs}"


def _as_signature(context: FileContext, node: cst.CSTNode, method: str) -> str:
    return " ".join(context.source.code(node).replace(".message(", f".{method}(").split())


REWRITE = Rewrite(
    name="canvas",
    methods={
        (System.DRAMATIQ, "message"): message,
        (System.DRAMATIQ, "message_with_options"): message_with_options,
    },
)
