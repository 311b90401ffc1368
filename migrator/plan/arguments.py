"""Arguments of a legacy call as the unified task takes them, and back.

Declared once in the plan, used by the codemods, the translation of messages and the parity cases.
A mapping without operations leaves a call exactly as it is. With operations every argument becomes a keyword,
so that nothing depends on positions. ``*args`` and ``**kwargs`` among the parameters stand for any further arguments;
positional ones have no name, so they can't be combined with operations.

A step of a pipeline or chain gets the result of the one before: :data:`RESULT` stands for it. Dramatiq puts it behind
the step's own positional arguments, Celery in front of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from migrator.errors import AdaptationError
from migrator.plan.model import OperationKind, TaskMapping

Call = tuple[tuple[Any, ...], dict[str, Any]]
#: Stands for a result that is not known yet.
RESULT = object()
#: Parameters that stand for further arguments, by position and by name.
FURTHER, FURTHER_NAMED = "*args", "**kwargs"


def by_position(parameters: Sequence[str]) -> tuple[str, ...]:
    """Return the parameters that a call by position reaches, in order."""
    reached = parameters[: parameters.index(FURTHER)] if FURTHER in parameters else parameters
    return tuple(name for name in reached if name != FURTHER_NAMED)


def bind(mapping: TaskMapping, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a legacy call's arguments by parameter name.

    Raises:
        AdaptationError: Too many arguments, one given twice, or an unknown name.
    """
    where = f"{mapping.system.value}:{mapping.name}"
    named, further = _by_name(where, mapping.parameters, args, kwargs)
    if further:
        raise AdaptationError(where, "positional arguments after the named ones have no name", found=repr(further))
    return named


def adapt(mapping: TaskMapping, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
    """Return the unified form of a legacy call.

    Raises:
        AdaptationError: The call does not fit the legacy parameters that the plan names.
    """
    if not mapping.operations:
        _by_name(f"{mapping.system.value}:{mapping.name}", mapping.parameters, args, kwargs)
        return tuple(args), dict(kwargs)
    named = bind(mapping, args, kwargs)
    for operation in mapping.operations:
        if operation.kind is OperationKind.CONSTANT:
            named[operation.name] = operation.value
        elif operation.name in named:
            value = named.pop(operation.name)
            if operation.kind is OperationKind.RENAME:
                named[operation.to] = value
            elif operation.kind is OperationKind.WRAP:
                named[operation.to] = [value]
    return (), named


def restore(mapping: TaskMapping, parameters: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
    """Return the legacy form of a native call, made after the cutover.

    Args:
        mapping: The primary mapping of the unified task.
        parameters: The unified task's positional order.
        args: Positional arguments of the unified call.
        kwargs: Keyword arguments of the unified call.

    Raises:
        AdaptationError: There is no legacy form, such as two symbols for a task that takes one.
    """
    where = mapping.unified
    named, further = _by_name(where, parameters, args, kwargs, in_gaps=mapping.result_last)
    if further and (mapping.operations or FURTHER not in mapping.parameters):
        raise AdaptationError(where, f"{mapping.name} takes no further arguments", found=repr(further))
    for operation in reversed(mapping.operations):
        if operation.kind is OperationKind.CONSTANT:
            if operation.name in named and named[operation.name] != operation.value:
                raise AdaptationError(where, f"{operation.name} has no legacy form", found=repr(named[operation.name]))
            named.pop(operation.name, None)
        elif operation.kind is OperationKind.RENAME and operation.to in named:
            named[operation.name] = named.pop(operation.to)
        elif operation.kind is OperationKind.WRAP and operation.to in named:
            value = named.pop(operation.to)
            if not isinstance(value, (list, tuple)) or len(value) != 1:
                raise AdaptationError(
                    where, f"{operation.to} needs exactly one item for a legacy call", found=repr(value)
                )
            named[operation.name] = value[0]
    open_ended = FURTHER_NAMED in mapping.parameters
    unknown = [name for name in named if name not in mapping.parameters and not open_ended]
    if unknown:
        raise AdaptationError(where, f"{mapping.name} takes no {unknown[0]}", found=repr(named[unknown[0]]))
    if not mapping.operations and not any(name in kwargs for name in by_position(parameters)[: len(args)]):
        return tuple(args), dict(kwargs)
    return (), named


def for_result(parameters: Sequence[str], named: Mapping[str, Any], *, result_last: bool) -> str:
    """Return the parameter of a unified task that a chain gives its result to; empty if there is none.

    Args:
        parameters: The unified task's positional order.
        named: The step's own arguments, by name.
        result_last: As :attr:`~migrator.plan.model.PlannedTask.result_last`.
    """
    return next((name for name in by_position(parameters) if not result_last or name not in named), "")


def _by_name(
    where: str, parameters: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any], *, in_gaps: bool = False
) -> tuple[dict[str, Any], list[Any]]:
    """Return the arguments that have a name, and further positional ones.

    With ``in_gaps`` the positional ones go to the parameters that no keyword names.
    """
    reached = [name for name in by_position(parameters) if not in_gaps or name not in kwargs]
    if len(args) > len(reached) and FURTHER not in parameters:
        raise AdaptationError(where, f"takes {len(by_position(parameters))} arguments", found=f"{len(args)} given")
    named = dict(zip(reached, args, strict=False))
    for name, value in kwargs.items():
        if name not in parameters and FURTHER_NAMED not in parameters:
            raise AdaptationError(
                where, f"has no parameter {name!r}", found=f"it takes {', '.join(parameters) or 'none'}"
            )
        if name in named:
            raise AdaptationError(where, f"{name!r} is given twice")
        named[name] = value
    return named, list(args[len(reached) :])
