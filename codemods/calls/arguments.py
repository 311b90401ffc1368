"""The plan's argument adapters applied to a call as it is written: smallest edits, formatting kept.

The law is that of :func:`migrator.plan.arguments.adapt`: without operations a call stays as it is, with operations
every argument becomes a keyword.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import libcst as cst

from codemods.editing.context import FileContext, LeaveError
from codemods.editing.sequences import remove_items
from codemods.plan.plan_index import Target
from codemods.resolve.name_resolution import text_of
from migrator.plan.arguments import FURTHER_NAMED, by_position, for_result
from migrator.plan.model import Operation, OperationKind, TaskMapping

_PURE = (cst.Name, cst.BaseNumber, cst.SimpleString, cst.Attribute, cst.UnaryOperation)


@dataclass(frozen=True, slots=True)
class Given:
    """One argument of a call, by legacy parameter name."""

    name: str
    value: cst.BaseExpression
    arg: cst.Arg | None


def as_mapping(target: Target) -> TaskMapping:
    """Return a target as the plan's mapping, with which :func:`~migrator.plan.arguments.adapt` converts a call."""
    return TaskMapping(
        system=target.system,
        name=target.name,
        path=target.path,
        parameters=target.parameters,
        operations=target.operations,
        unified=target.unified,
        primary=False,
    )


def one_meaning(targets: Sequence[Target]) -> Target:
    """Return the target that stands for all.

    Raises:
        LeaveError: Their arguments change differently.
    """
    first = targets[0]
    changes = first.operations or first.result_last
    if any(
        (t.operations, t.result_last) != (first.operations, first.result_last)
        or (changes and t.parameters != first.parameters)
        for t in targets
    ):
        raise LeaveError("MIXED-TASKS", detail=", ".join(sorted(t.name for t in targets)))
    return first


def adapt_arguments(context: FileContext, call: cst.Call, targets: Sequence[Target], *, by_name: bool = False) -> None:
    """Rewrite the arguments of ``call`` for the unified task.

    Args:
        context: The file.
        call: The call.
        targets: What it may call.
        by_name: True if every argument has to be a keyword, also without operations.

    Raises:
        LeaveError: They can't be followed, or do not fit.
    """
    target = one_meaning(targets)
    if not target.operations and not by_name:
        return
    _check_place(target, call)
    given = bind_call(target, call.args)
    dropped = [item for item in given if _operation(target, item.name, OperationKind.DROP)]
    for item in given:
        assert item.arg is not None
        if item not in dropped:
            _rename(context, target, item)
    if dropped:
        _drop(context, call, [item.arg for item in dropped if item.arg])
    _constants(context, call, target, kept=len(given) - len(dropped))


def adapt_literals(
    context: FileContext,
    targets: Sequence[Target],
    args: cst.BaseExpression | None,
    kwargs: cst.BaseExpression | None,
    *,
    by_name: bool = False,
) -> dict[str, str] | None:
    """Return the unified keyword arguments of ``args=(…), kwargs={…}`` as text by name; None if nothing changes.

    With ``by_name`` they are returned also without operations.

    Raises:
        LeaveError: They are no literals, or do not fit.
    """
    target = one_meaning(targets)
    if not target.operations and not by_name:
        return None
    _check_place(target, args or kwargs)
    given = bind_literals(target, args, kwargs)
    result: dict[str, str] = {}
    for item in given:
        if _operation(target, item.name, OperationKind.DROP):
            _check_pure(item.value)
            continue
        name, wrapped = _new_name(target, item.name)
        text = context.render(item.value)
        result[name] = f"[{text}]" if wrapped else text
    for operation in target.operations:
        if operation.kind is OperationKind.CONSTANT:
            result[operation.name] = repr(operation.value)
    return result


def _check_place(target: Target, node: cst.CSTNode | None) -> None:
    if target.operations and target.in_place:
        raise LeaveError("IN-PLACE-ADAPTER", node)


def bind_literals(target: Target, args: cst.BaseExpression | None, kwargs: cst.BaseExpression | None) -> list[Given]:
    """Return the arguments in ``args=(…), kwargs={…}`` by legacy parameter name.

    Raises:
        LeaveError: They are no literals, or do not fit.
    """
    found: list[Given] = []
    if args is not None and not _is_none(args):
        if not isinstance(args, (cst.Tuple, cst.List)) or not all(isinstance(e, cst.Element) for e in args.elements):
            raise LeaveError("COMPUTED-ARGUMENTS", args)
        reached = by_position(target.parameters)
        if len(args.elements) > len(reached):
            raise LeaveError("ARGUMENTS", args, f"takes {len(reached)}")
        pairs = zip(reached, args.elements, strict=False)
        found += [Given(name, element.value, None) for name, element in pairs]
    if kwargs is not None and not _is_none(kwargs):
        found += _keyword_items(kwargs)
    names = [item.name for item in found]
    for name in names:
        if not _takes(target, name) or names.count(name) > 1:
            raise LeaveError("ARGUMENTS", args or kwargs, f"{name!r}")
    return found


def _keyword_items(kwargs: cst.BaseExpression) -> list[Given]:
    found = []
    if isinstance(kwargs, cst.Call) and isinstance(kwargs.func, cst.Name) and kwargs.func.value == "dict":
        if any(arg.keyword is None for arg in kwargs.args):
            raise LeaveError("COMPUTED-ARGUMENTS", kwargs)
        return [Given(arg.keyword.value, arg.value, None) for arg in kwargs.args if arg.keyword]
    if not isinstance(kwargs, cst.Dict):
        raise LeaveError("COMPUTED-ARGUMENTS", kwargs)
    for element in kwargs.elements:
        name = text_of(element.key) if isinstance(element, cst.DictElement) else None
        if name is None:
            raise LeaveError("COMPUTED-ARGUMENTS", kwargs)
        found.append(Given(name, element.value, None))
    return found


def bind_call(target: Target, args: Sequence[cst.Arg]) -> list[Given]:
    """Return the arguments of a call by legacy parameter name.

    Raises:
        LeaveError: They are unpacked, or do not fit.
    """
    found: list[Given] = []
    position = 0
    reached = by_position(target.parameters)
    for arg in args:
        if arg.star:
            raise LeaveError("STARRED-ARGUMENTS", arg)
        if arg.keyword is not None:
            name = arg.keyword.value
            if not _takes(target, name):
                raise LeaveError("ARGUMENTS", arg, f"{target.name} has no parameter {name!r}")
        else:
            if position >= len(reached):
                raise LeaveError("ARGUMENTS", arg, f"{target.name} takes {len(reached)}")
            name = reached[position]
            position += 1
        if any(item.name == name for item in found):
            raise LeaveError("ARGUMENTS", arg, f"{name!r} is given twice")
        found.append(Given(name, arg.value, arg))
    return found


def _takes(target: Target, name: str) -> bool:
    return name in target.parameters or FURTHER_NAMED in target.parameters


def _operation(target: Target, name: str, *kinds: OperationKind) -> Operation | None:
    return next((o for o in target.operations if o.name == name and o.kind in kinds), None)


def check_result(target: Target, given: Sequence[Given], node: cst.CSTNode, *, position: int) -> None:
    """Check that a chain gives a result to the parameter that the legacy system gave it to.

    Args:
        target: The task of the step.
        given: The step's own arguments.
        node: The step.
        position: Of the result among the legacy task's arguments.

    Raises:
        LeaveError: It doesn't.
    """
    if position >= len(target.parameters):
        raise LeaveError("ARGUMENTS", node, f"{target.name} takes {len(target.parameters)}, and the result is one more")
    old = target.parameters[position]
    if _operation(target, old, OperationKind.WRAP, OperationKind.DROP):
        raise LeaveError("SIGNATURE", node, f"the result is {target.name}'s {old}, which the plan wraps or drops")
    named = {_new_name(target, item.name)[0]: item for item in given}
    constants = {o.name: None for o in target.operations if o.kind is OperationKind.CONSTANT}
    first = for_result(target.unified_parameters, {**named, **constants}, result_last=target.result_last)
    new, _ = _new_name(target, old)
    if first != new:
        raise LeaveError("PIPELINE-ARGUMENTS", node, f"the result is {new}, and a chain would give it to {first}")


def _new_name(target: Target, name: str) -> tuple[str, bool]:
    operation = _operation(target, name, OperationKind.RENAME, OperationKind.WRAP)
    if operation is None:
        return name, False
    return operation.to, operation.kind is OperationKind.WRAP


def _rename(context: FileContext, target: Target, item: Given) -> None:
    name, wrapped = _new_name(target, item.name)
    assert item.arg is not None
    value = item.value
    if isinstance(value, cst.GeneratorExp) and not value.lpar:
        raise LeaveError("COMPUTED-ARGUMENTS", value, "a bare generator")
    opening, closing = ("[", "]") if wrapped else ("", "")
    if isinstance(value, cst.NamedExpr) and not value.lpar and not wrapped:
        opening, closing = "(", ")"
    if item.arg.keyword is None:
        opening = f"{name}={opening}"
    elif item.arg.keyword.value != name:
        context.replace(item.arg.keyword, name)
    if opening:
        context.insert_before(value, opening)
    if closing:
        context.insert_after(value, closing)


def _drop(context: FileContext, call: cst.Call, dropped: Sequence[cst.Arg]) -> None:
    for arg in dropped:
        _check_pure(arg.value)
    remove_items(context, call.args, dropped)


def _check_pure(value: cst.BaseExpression) -> None:
    plain = isinstance(value, _PURE) or (
        isinstance(value, (cst.List, cst.Tuple))
        and all(isinstance(e, cst.Element) and isinstance(e.value, _PURE) for e in value.elements)
    )
    if not plain:
        raise LeaveError("DROPPED-EFFECT", value)


def _constants(context: FileContext, call: cst.Call, target: Target, *, kept: int) -> None:
    constants = [o for o in target.operations if o.kind is OperationKind.CONSTANT]
    if not constants:
        return
    text = ", ".join(f"{operation.name}={operation.value!r}" for operation in constants)
    if kept and call.args:
        context.insert_after(call.args[-1].value, f", {text}")
    else:
        _, end = context.source.bare_span(call)
        context.replace_span(end - 1, end - 1, text)


def _is_none(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Name) and node.value == "None"
