"""Signatures of Celery tasks whose arguments the plan changes: ``.s``, ``.si``, ``.signature``, ``.map`` and the like.

A signature that gets another task's result can't be adapted: that value isn't known here.
Source: ``celery/canvas.py`` (a chain and ``link`` put the result first; ``si`` ignores it).
"""

from __future__ import annotations

import libcst as cst

from codemods.calls.arguments import adapt_arguments, one_meaning
from codemods.calls.send_options import adapt_options, check_routing
from codemods.editing.context import FileContext, LeaveError, Use
from codemods.protocol import Rewrite
from migrator.wire.message import System

_CHAINS = frozenset({"celery.chain", "celery.canvas.chain"})
_CHORDS = frozenset({"celery.chord", "celery.canvas.chord"})
_GROUPS = frozenset({"celery.group", "celery.canvas.group"})
#: Methods that run a signature, and those that return the same one.
_RUNS = frozenset({"apply_async", "delay", "apply"})
_SAME_SIGNATURE = frozenset({"set", "on_error"})


def signature(context: FileContext, use: Use) -> None:
    """Adapt ``.s(…)``."""
    _routing(context, use)
    if use.call is None or not one_meaning(use.targets).operations:
        return
    if may_get_a_result(context, use.call):
        raise LeaveError("SIGNATURE", use.call, "it may get another task's result")
    adapt_arguments(context, use.call, use.targets)


def immutable(context: FileContext, use: Use) -> None:
    """Adapt ``.si(…)``."""
    _routing(context, use)
    if use.call is not None:
        adapt_arguments(context, use.call, use.targets)


def written_out(context: FileContext, use: Use) -> None:
    """Adapt ``.signature(args=…, kwargs=…)``."""
    _routing(context, use)
    if use.call is None or not one_meaning(use.targets).operations:
        return
    given = {arg.keyword.value: arg.value for arg in use.call.args if arg.keyword}
    fixed = given.get("immutable")
    if may_get_a_result(context, use.call) and not (isinstance(fixed, cst.Name) and fixed.value == "True"):
        raise LeaveError("SIGNATURE", use.call, "it may get another task's result")
    adapt_options(context, use.call, use)


def _routing(context: FileContext, use: Use) -> None:
    """``task.s(…).set(queue=…)``."""
    attribute = context.parent(use.call) if use.call is not None else None
    call = context.parent(attribute) if isinstance(attribute, cst.Attribute) and attribute.attr.value == "set" else None
    if isinstance(call, cst.Call):
        check_routing(context, {arg.keyword.value: arg for arg in call.args if arg.keyword is not None})


def spread(context: FileContext, use: Use) -> None:
    """``.map``, ``.starmap`` and ``.chunks`` hold argument lists that aren't known here."""
    if one_meaning(use.targets).operations:
        raise LeaveError("SIGNATURE", use.attribute or use.node)


def may_get_a_result(context: FileContext, call: cst.CSTNode) -> bool:
    """Tell whether a signature may be anywhere but where no result is put in front of its arguments.

    It isn't if it is run at once, or alone in a group, first in a chain or in a chord's header that are.
    """
    node, parent = call, context.parent(call)
    while parent is not None:
        if isinstance(parent, cst.BinaryOperation) and isinstance(parent.operator, cst.BitOr):
            if parent.right is node:
                return True
        elif isinstance(parent, cst.Arg):
            holder = context.parent(parent)
            if not isinstance(holder, cst.Call) or not _takes_no_result(context, holder, parent, node):
                return True
            parent = holder
        elif isinstance(parent, cst.Element):
            sequence = context.parent(parent)
            arg = context.parent(sequence) if isinstance(sequence, (cst.List, cst.Tuple)) else None
            holder = context.parent(arg) if isinstance(arg, cst.Arg) else None
            if not isinstance(sequence, (cst.List, cst.Tuple)) or not isinstance(holder, cst.Call):
                return True
            if context.values.only(holder.func) in _CHAINS and sequence.elements[0] is not parent:
                return True
            parent = sequence
        elif isinstance(parent, cst.Attribute):
            method = context.parent(parent)
            if parent.attr.value not in _SAME_SIGNATURE or not isinstance(method, cst.Call):
                return parent.attr.value not in _RUNS
            parent = method
        elif isinstance(parent, cst.Call):
            return False  # group(…)()
        elif isinstance(parent, cst.Assign):
            return not _only_run(context, parent)
        elif not isinstance(parent, (cst.List, cst.Tuple, cst.ListComp, cst.GeneratorExp)):
            return not isinstance(parent, (cst.Expr, cst.Await))
        node, parent = parent, context.parent(parent)
    return True


def _takes_no_result(context: FileContext, holder: cst.Call, arg: cst.Arg, value: cst.CSTNode) -> bool:
    """Tell whether an argument of a canvas is a part of it that doesn't get a result from another part."""
    kind = context.values.only(holder.func)
    if kind in _GROUPS:
        return True
    if arg.keyword is not None or holder.args[0] is not arg:
        return False
    return kind in _CHORDS or (kind in _CHAINS and not isinstance(value, (cst.ListComp, cst.GeneratorExp)))


def _only_run(context: FileContext, node: cst.Assign) -> bool:
    """Tell whether a signature that is given a name is only run under that name."""
    name = node.targets[0].target
    if len(node.targets) != 1 or not isinstance(name, cst.Name):
        return False
    reads = [(context.parent(read), context.values.bindings(read)) for read in context.tree.reads_of(name)]
    return all(
        isinstance(parent, cst.Attribute) and parent.attr.value in _RUNS and len(found) == 1 for parent, found in reads
    )


REWRITE = Rewrite(
    name="signatures",
    methods={
        (System.CELERY, "s"): signature,
        (System.CELERY, "si"): immutable,
        (System.CELERY, "signature"): written_out,
        (System.CELERY, "subtask"): written_out,
        (System.CELERY, "map"): spread,
        (System.CELERY, "starmap"): spread,
        (System.CELERY, "chunks"): spread,
    },
)
