"""Where ``dramatiq.actor`` is applied: bare, called, through ``functools.partial``; and with which options.

Source: ``dramatiq/actor.py`` ``actor`` (the function by position or nothing, every option by keyword).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

import libcst as cst

from codemods.editing.context import FileContext, LeaveError
from codemods.plan.policy import ACTORS, number
from codemods.syntax.scopes import Binding, BindingKind
from migrator.inventory.callables import loading
from migrator.inventory.unpacked_options import Option, unpacked

_PARTIAL = "functools.partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """One application of ``dramatiq.actor``."""

    #: What names it: ``dramatiq.actor``, or the partial.
    function: cst.BaseExpression
    #: Options by name.
    options: Mapping[str, cst.BaseExpression]
    #: The function, where it is given at once: ``dramatiq.actor(function)``.
    wrapped: cst.BaseExpression | None = None


def declaration(context: FileContext, node: cst.BaseExpression) -> Declaration | None:
    """Return how an expression applies ``dramatiq.actor``; None if it doesn't.

    Raises:
        LeaveError: Its options are unpacked.
    """
    function = node.func if isinstance(node, cst.Call) else node
    args = list(node.args) if isinstance(node, cst.Call) else []
    inherited: Mapping[str, cst.BaseExpression] = {}
    if context.values.only(function) not in ACTORS:
        made = partial_of(context, function)
        if made is None:
            return None
        inherited = _options(context, list(made.args[1:]))
    wrapped = args.pop(0).value if args and args[0].keyword is None and not args[0].star else None
    return Declaration(function=function, options={**inherited, **_options(context, args)}, wrapped=wrapped)


def partial_of(context: FileContext, node: cst.BaseExpression) -> cst.Call | None:
    """Return ``partial(dramatiq.actor, …)`` if a name stands for that and nothing else."""
    found = context.values.bindings(node) if isinstance(node, cst.Name) else ()
    return _made(context, found[0]) if len(found) == 1 else None


def partials(context: FileContext) -> list[Binding]:
    """Return the names of the module that stand for a partial of ``dramatiq.actor``."""
    groups = context.tree.module.bindings.values()
    return [group[0] for group in groups if len(group) == 1 and _made(context, group[0]) is not None]


def _made(context: FileContext, binding: Binding) -> cst.Call | None:
    value = binding.value
    if binding.kind is not BindingKind.ASSIGN or not isinstance(value, cst.Call) or not value.args:
        return None
    if context.values.only(value.func) != _PARTIAL or context.values.only(value.args[0].value) not in ACTORS:
        return None
    return value


def _options(context: FileContext, args: list[cst.Arg]) -> dict[str, cst.BaseExpression]:
    found: dict[str, cst.BaseExpression] = {}
    for arg in args:
        if arg.star == "**":
            found |= _unpacked(context, arg.value)
        elif arg.keyword is None:
            raise LeaveError("ACTOR-OPTION", arg, "given by position")
        else:
            found[arg.keyword.value] = arg.value
    return found


def _unpacked(context: FileContext, node: cst.BaseExpression) -> dict[str, cst.BaseExpression]:
    """Return the options that an unpacked expression stands for.

    Raises:
        LeaveError: It can't be followed, or one is neither a constant nor an argument that stands here.
    """
    load = loading(context.index.root, {})
    facts = load(context.values.where.module)
    given = unpacked(facts, ast.parse(context.source.code(node), mode="eval").body, load) if facts is not None else None
    if given is None:
        raise LeaveError("OPTIONS-UNPACKED", node, "from something that can't be followed")
    here = {a.keyword.value: a.value for a in node.args if a.keyword} if isinstance(node, cst.Call) else {}
    found: dict[str, cst.BaseExpression] = {}
    for name, option in given.items():
        own = here.get(name)
        if own is not None and option.facts is facts and ast.unparse(option.node) == _plain(context.source.code(own)):
            found[name] = own
            continue
        found[name] = cst.parse_expression(_constant(option, node, name))
        context.source.stand_in(found[name], node)
    return found


def _constant(option: Option, node: cst.BaseExpression, name: str) -> str:
    if isinstance(option.node, ast.Constant) and option.node.value in (None, True, False):
        return repr(option.node.value)
    text = option.facts.text(option.node)
    value = number(option.facts, option.node) if text is None else None
    if text is None and value is None:
        raise LeaveError("ACTOR-OPTION", node, f"{name} is not a constant where it is unpacked from")
    return repr(value if text is None else text)


def _plain(code: str) -> str:
    return ast.unparse(ast.parse(code, mode="eval").body)
