"""Milliseconds as seconds, in source. An expression that can't be proved to be a number is refused.

Source: ``dramatiq/actor.py`` ``send_with_options`` (``delay`` is an int of milliseconds or a ``timedelta``),
``celery/app/task.py`` ``apply_async`` (``countdown`` and ``expires`` are seconds).
"""

from __future__ import annotations

import math

import libcst as cst

from codemods.editing.context import FileContext, LeaveError
from codemods.syntax.scopes import BindingKind

_NUMERIC = frozenset(
    {"builtins.int", "builtins.round", "builtins.float", "builtins.len", "builtins.max", "builtins.min"}
)
_RANDOM = frozenset({"random.randint", "random.randrange", "random.uniform"})
_TIMEDELTA = "datetime.timedelta"


def seconds(context: FileContext, node: cst.BaseExpression, *, timedelta_allowed: bool) -> str:
    """Return the text of an expression of milliseconds as seconds.

    Raises:
        LeaveError: It can't be proved to be a number (or, where allowed, a ``timedelta``).
    """
    number = constant(node)
    if number is not None:
        return shown(number / 1000)
    if isinstance(node, cst.Name) and node.value == "None":
        return "None"
    without = _without_thousand(context, node)
    if without is not None:
        return without
    if isinstance(node, cst.Call):
        return _call(context, node, timedelta_allowed=timedelta_allowed)
    if isinstance(node, cst.Name):
        return _name(context, node, timedelta_allowed=timedelta_allowed)
    if isinstance(node, cst.Attribute):
        return f"{context.render(node)} / 1000"
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, (cst.Add, cst.Subtract, cst.Multiply)):
        if _mentions_timedelta(context, node):
            raise LeaveError("UNITS", node)
        text = context.render(node)
        return f"{text} / 1000" if isinstance(node.operator, cst.Multiply) or node.lpar else f"({text}) / 1000"
    if isinstance(node, cst.BooleanOperation) and isinstance(node.operator, cst.Or):
        left = seconds(context, node.left, timedelta_allowed=timedelta_allowed)
        right = seconds(context, node.right, timedelta_allowed=timedelta_allowed)
        return f"{left} or {right}"
    if isinstance(node, cst.IfExp):
        body = seconds(context, node.body, timedelta_allowed=timedelta_allowed)
        other = seconds(context, node.orelse, timedelta_allowed=timedelta_allowed)
        return f"{body} if {context.render(node.test)} else {other}"
    raise LeaveError("UNITS", node)


def constant(node: cst.BaseExpression) -> float | None:
    """Return the value of a number or a product, sum or difference of numbers; None otherwise."""
    if isinstance(node, (cst.Integer, cst.Float)):
        return float(node.evaluated_value)
    if isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Minus):
        inner = constant(node.expression)
        return None if inner is None else -inner
    if isinstance(node, cst.BinaryOperation):
        left, right = constant(node.left), constant(node.right)
        if left is None or right is None:
            return None
        if isinstance(node.operator, cst.Multiply):
            return left * right
        if isinstance(node.operator, cst.Add):
            return left + right
        if isinstance(node.operator, cst.Subtract):
            return left - right
        if isinstance(node.operator, cst.Power) and abs(right) < 20:
            return float(left**right)
    return None


def shown(value: float) -> str:
    """Return a number of seconds as one writes it."""
    return str(int(value)) if value == int(value) else repr(round(value, 6))


def _without_thousand(context: FileContext, node: cst.BaseExpression) -> str | None:
    """``x * 1000`` and ``1000 * x`` lose their factor; ``int(…)`` around them goes too."""
    if isinstance(node, cst.Call) and context.values.only(node.func) == "builtins.int" and len(node.args) == 1:
        return _without_thousand(context, node.args[0].value)
    if not isinstance(node, cst.BinaryOperation) or not isinstance(node.operator, cst.Multiply):
        return None
    factors = _factors(node)
    for index, factor in enumerate(factors):
        if constant(factor) == 1000:
            rest = factors[:index] + factors[index + 1 :]
            numbers = [number for number in (constant(item) for item in rest) if number is not None]
            if len(numbers) == len(rest):
                return shown(math.prod(numbers))
            return " * ".join(context.render(item) for item in rest)
    return None


def _factors(node: cst.BaseExpression) -> list[cst.BaseExpression]:
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Multiply):
        return [*_factors(node.left), *_factors(node.right)]
    return [node]


def _call(context: FileContext, node: cst.Call, *, timedelta_allowed: bool) -> str:
    called = context.values.only(node.func)
    if called == _TIMEDELTA:
        if not timedelta_allowed:
            raise LeaveError("UNITS", node)
        return f"{context.render(node)}.total_seconds()"
    if called in _NUMERIC | _RANDOM:
        if _mentions_timedelta(context, node):
            raise LeaveError("UNITS", node)
        return f"{context.render(node)} / 1000"
    raise LeaveError("UNITS", node)


def _name(context: FileContext, node: cst.Name, *, timedelta_allowed: bool) -> str:
    found = context.values.bindings(node)
    if not found:
        raise LeaveError("UNITS", node)
    for binding in found:
        value = binding.value
        if isinstance(value, cst.Call) and context.values.only(value.func) == _TIMEDELTA:
            if len(found) == 1 and timedelta_allowed:
                return f"{node.value}.total_seconds()"
            raise LeaveError("UNITS", node)
        if (
            value is not None
            and binding.kind is BindingKind.ASSIGN
            and constant(value) is None
            and _doubtful(context, value)
        ):
            raise LeaveError("UNITS", node)
    if all(b.kind is BindingKind.ASSIGN and b.value is not None and constant(b.value) is not None for b in found):
        return f"{node.value} / 1000"
    if any(
        b.kind is BindingKind.PARAMETER and isinstance(b.node, cst.Param) and _is_timedelta(context, b.node)
        for b in found
    ):
        raise LeaveError("UNITS", node)
    return f"None if {node.value} is None else {node.value} / 1000"


def _doubtful(context: FileContext, value: cst.BaseExpression) -> bool:
    """True unless the value is arithmetic, a numeric call or an attribute, none of them about ``timedelta``."""
    if _mentions_timedelta(context, value):
        return True
    if isinstance(value, cst.Call):
        return context.values.only(value.func) not in _NUMERIC | _RANDOM
    return not isinstance(value, (cst.BinaryOperation, cst.Attribute, cst.Name, cst.IfExp, cst.UnaryOperation))


def _is_timedelta(context: FileContext, param: cst.Param) -> bool:
    return param.annotation is not None and "timedelta" in context.source.code(param.annotation.annotation)


def _mentions_timedelta(context: FileContext, node: cst.CSTNode) -> bool:
    code = context.source.code(node)
    return "timedelta" in code or "total_seconds" in code
