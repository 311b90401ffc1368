"""``mock.patch("module.task.send")`` and ``patch.object(task, "send")``: the path, the method, and what is asserted.

An assertion of a patched method reads the arguments of the rewritten call, so it is rewritten the same way.
Source: ``unittest/mock.py``; pytest-mock and pytest's ``monkeypatch.setattr`` take the same paths.
"""

from __future__ import annotations

import libcst as cst

from codemods.calls.mocks import OPTION_METHODS, mock_reads, reads_nothing, rewrite_assertions, rewrite_doubles
from codemods.editing.context import FileContext, LeaveError
from codemods.editing.literals import replace_string
from codemods.plan.plan_index import Target
from codemods.protocol import Rewrite
from codemods.resolve.name_resolution import dotted_name, text_of
from migrator.inventory.callables import loading
from migrator.wire.message import System

METHODS = {
    "send": "delay",
    "send_with_options": "apply_async",
    "message": "s",
    "message_with_options": "signature",
    "fn": "run",
    "actor_name": "name",
}


#: Names of Dramatiq's compositions: a module that was rewritten has them no more.
_NAMES = frozenset({"pipeline", "dramatiq"})


def rewrite(context: FileContext) -> None:
    """Rewrite the patches of a file."""
    for call in context.tree.calls:
        kind = _kind(context, call)
        if kind == "path" and call.args and isinstance(call.args[0].value, cst.SimpleString):
            with context.attempt(call):
                _path(context, call, call.args[0].value)
        elif kind == "object" and len(call.args) > 1 and isinstance(call.args[1].value, cst.SimpleString):
            with context.attempt(call):
                _object(context, call, call.args[1].value)


def _kind(context: FileContext, call: cst.Call) -> str:
    called = context.values.only(call.func)
    if called in {"unittest.mock.patch", "mock.patch"}:
        return "path"
    if called in {"unittest.mock.patch.object", "mock.patch.object"}:
        return "object"
    if isinstance(call.func, cst.Attribute):
        code = dotted_name(call.func)
        if code in {"mocker.patch", "mocker.spy"}:
            return "path" if code == "mocker.patch" else "object"
        if code == "mocker.patch.object":
            return "object"
        if code == "monkeypatch.setattr" and call.args:
            return "path" if isinstance(call.args[0].value, cst.SimpleString) else "object"
    return ""


def _path(context: FileContext, call: cst.Call, node: cst.SimpleString) -> None:
    text = text_of(node) or ""
    head, tail = text, ""
    while head:
        target = context.index.target(head)
        if target is not None:
            break
        head, _, last = head.rpartition(".")
        tail = f".{last}{tail}"
    else:
        if any(text == m or text.startswith(m + ".") for m in context.index.retired_modules):
            raise LeaveError("LEGACY-STRING", node, text)
        _patched_dramatiq(context, text, node)
        return
    assert target is not None
    if _settled(context, target, node):
        return
    method = tail.lstrip(".")
    new_method = _method(target, method, node)
    new_head = target.unified_path if head == target.path else _renamed(context, head)
    replace_string(context, node, f"{new_head}.{new_method}" if new_method else new_head)
    _assertions(context, call, target, method)


def _patched_dramatiq(context: FileContext, text: str, node: cst.SimpleString) -> None:
    """List the patch of a name of Dramatiq's in a module of the project: the module may not have it any more.

    Raises:
        LeaveError: It is one.
    """
    home, _, rest = text.partition(".dramatiq.")
    module, _, name = text.rpartition(".")
    facts = loading(context.index.root, {})(home if rest else module)
    path = f"dramatiq.{rest}" if rest else facts.bindings.get(name, "") if facts is not None else ""
    if facts is not None and (path.startswith("dramatiq.") or (name in _NAMES and name not in facts.bindings)):
        raise LeaveError("DRAMATIQ-USE", node, f"{text} is patched, and that module sends by Celery")


def _settled(context: FileContext, target: Target, node: cst.CSTNode) -> bool:
    """True for a task that an earlier run converted: its patches are right.

    Raises:
        LeaveError: The task stays as it is, and so do its patches.
    """
    if target.retired:
        raise LeaveError("RETIRED-TASK", node, f"{target.name}: {target.reason}")
    if target.stuck and target.in_place:
        raise LeaveError("LINKED", node, f"{target.path} stays an actor")
    context.result.patched.add(target.path)
    if target.path in context.index.kept_sends:
        raise LeaveError("LINKED", node, f"the send in {context.index.kept_sends[target.path]}")
    return target.converted


def _renamed(context: FileContext, path: str) -> str:
    new = context.index.renames.get(path)
    return f"{path.rpartition('.')[0]}.{new}" if new else path


def _method(target: Target, method: str, node: cst.CSTNode) -> str:
    if not method or target.system is System.CELERY:
        return method
    if method not in METHODS:
        raise LeaveError("ACTOR-ATTRIBUTE", node, method)
    return METHODS[method]


def _object(context: FileContext, call: cst.Call, node: cst.SimpleString) -> None:
    first = call.args[0].value
    use = context.uses.of_node(first)
    if use is None:
        _module_object(context, call, node)
        return
    method = text_of(node) or ""
    if not use.rewritten:
        raise LeaveError("LINKED", node, f"{context.source.code(first)} in this line")
    if _settled(context, use.target, node):
        return
    replace_string(context, node, _method(use.target, method, node))
    _assertions(context, call, use.target, method)


def _module_object(context: FileContext, call: cst.Call, node: cst.SimpleString) -> None:
    """``patch.object(module, "task")``: the name follows the module's own rename."""
    module = context.values.only(call.args[0].value)
    path = f"{module}.{text_of(node)}"
    target = context.index.target(path) if module else None
    if target is None or _settled(context, target, node):
        return
    if path == target.path:
        _by_path(context, call, target)
        return
    replace_string(context, node, _renamed(context, path).rpartition(".")[2])
    _assertions(context, call, target, "")


def _by_path(context: FileContext, call: cst.Call, target: Target) -> None:
    """``patch.object(legacy_module, "task")`` becomes ``patch("unified.module.task")``."""
    first, second = call.args[0], call.args[1]
    if target.in_place:
        _assertions(context, call, target, "")
        return
    if first.keyword or second.keyword or not isinstance(call.func, cst.Attribute):
        raise LeaveError("MODULE-DYNAMIC", call, target.path)
    if call.func.attr.value == "object":
        context.replace(call.func, context.source.code(call.func.value))
    elif call.func.attr.value != "setattr":
        raise LeaveError("MODULE-DYNAMIC", call, target.path)
    start, end = context.source.span(first.value)[0], context.source.span(second.value)[1]
    context.replace_span(start, end, f'"{target.unified_path}"')
    for item in context.result.imports:
        item.others = [node for node in item.others if node is not first.value]
    _assertions(context, call, target, "")


def _assertions(context: FileContext, call: cst.Call, target: Target, method: str) -> None:
    rewrite_assertions(context, mock_reads(context, call), target, method)
    if target.system is System.DRAMATIQ:
        _doubles(context, call, target, method)


def _doubles(context: FileContext, call: cst.Call, target: Target, method: str) -> None:
    """Rewrite what is given instead of the method; list a function that reads arguments which change."""
    given = [arg.value for arg in call.args[1:]]
    rewrite_doubles(context, given)
    changes = target.operations or method in OPTION_METHODS
    for value in given if method in OPTION_METHODS | {"send"} else ():
        if changes and isinstance(value, (cst.Lambda, cst.Name)) and not reads_nothing(context, value):
            context.leave(value, "FORWARDED", "a double that reads the arguments")


REWRITE = Rewrite(name="patches", whole_file=rewrite)
