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


def signature(context: FileContext, use: Use) -> None:
    """Adapt ``.s(…)``."""
    _routing(context, use)
    if use.call is None or not one_meaning(use.targets).operations:
        return
    if gets_a_result(context, use.call):
        raise LeaveError("SIGNATURE", use.call, "it gets another task's result")
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
    if gets_a_result(context, use.call) and not (isinstance(fixed, cst.Name) and fixed.value == "True"):
        raise LeaveError("SIGNATURE", use.call, "it gets another task's result")
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


def gets_a_result(context: FileContext, call: cst.CSTNode) -> bool:
    """Tell whether a signature is anywhere but first in a chain, a chord's body, or a link."""
    node, parent = call, context.parent(call)
    while parent is not None:
        if isinstance(parent, cst.BinaryOperation) and isinstance(parent.operator, cst.BitOr):
            if parent.right is node:
                return True
        elif isinstance(parent, cst.Arg):
            if parent.keyword is not None and parent.keyword.value in {"link", "body"}:
                return True
            holder = context.parent(parent)
            if not isinstance(holder, cst.Call):
                return False
            called = context.values.only(holder.func)
            if called in _CHAINS and holder.args[0] is not parent:
                return True
            if called in _CHORDS and holder.args[0] is not parent:
                return True
            if isinstance(holder.func, cst.Call) and context.values.only(holder.func.func) in _CHORDS:
                return True
            if isinstance(holder.func, cst.Attribute) and holder.func.attr.value in {"link", "then"}:
                return True
            parent = holder
        elif isinstance(parent, cst.Element):
            sequence = context.parent(parent)
            if not isinstance(sequence, (cst.List, cst.Tuple)):
                return False
            arg = context.parent(sequence)
            holder = context.parent(arg) if isinstance(arg, cst.Arg) else None
            chained = isinstance(holder, cst.Call) and context.values.only(holder.func) in _CHAINS
            if chained and sequence.elements[0] is not parent:
                return True
            parent = sequence
        elif not isinstance(parent, (cst.List, cst.Tuple, cst.Call)):
            return False
        node, parent = parent, context.parent(parent)
    return False


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
