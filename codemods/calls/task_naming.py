"""Calls that name a task by a string: a literal, or a constant of this file or of another one.

A name changes with everything that reaches it or not at all: calls whose arguments the plan changes have to be adapted,
and what else is done with such a name can't be known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import libcst as cst

from codemods.calls.arguments import adapt_literals
from codemods.calls.send_options import check_routing
from codemods.editing.context import FileContext, LeaveError
from codemods.editing.edits import Placed
from codemods.editing.literals import argument, strings_of
from codemods.editing.sequences import remove_items
from codemods.plan.plan_index import Target
from codemods.resolve.name_resolution import enclosing, text_of
from codemods.syntax.scopes import BindingKind

_METHODS = frozenset({"send_task", "signature", "AsyncResult"})
_SIGNATURES = frozenset(
    {"celery.signature", "celery.Signature", "celery.canvas.signature", "celery.canvas.Signature", "celery.subtask"}
)


@dataclass(slots=True)
class Naming:
    """A call that names a task."""

    call: cst.Call
    #: The literals of this file that the name may be, and the variables through which they are read.
    strings: list[cst.SimpleString]
    reads: list[cst.BaseExpression]
    #: Dotted paths of the constants that are read.
    constants: frozenset[str]
    targets: tuple[Target, ...]
    #: Edits of its arguments; None if it stays.
    edits: list[Placed] | None = None

    @property
    def reached(self) -> list[cst.CSTNode | str]:
        """Literals and constants."""
        return [*self.strings, *sorted(self.constants)]


def adapted_namings(context: FileContext) -> list[Naming]:
    """Adapt what the calls of a file give the tasks that they name; list those that stay."""
    namings = list(_namings(context))
    for naming in namings:
        before = context.result.edits.mark()
        with context.attempt(naming.call) as attempt:
            _adapt(context, naming)
        naming.edits = None if attempt.failed else context.result.edits.since(before)
    return namings


def kept_names(context: FileContext, namings: list[Naming]) -> dict[cst.CSTNode | str, str]:
    """Return the literals and constants that keep the legacy name, with the place that is the reason.

    What a call gives is put back where it names one of them, and the call is listed.
    """
    why: dict[cst.CSTNode | str, str] = {}
    for reached, node in _loose(context, namings):
        why.setdefault(reached, f"line {context.source.line(node)}: {context.source.code(node)}")
    for naming in namings:
        if naming.edits is None:
            why |= {reached: f"line {context.source.line(naming.call)}" for reached in naming.reached}
    for path in context.index.open_constants:
        why.setdefault(path, "another file")
    while linked := [n for n in namings if n.edits is not None and any(reached in why for reached in n.reached)]:
        for naming in linked:
            place = next(why[reached] for reached in naming.reached if reached in why)
            context.result.edits.discard(naming.edits or [])
            naming.edits = None
            context.leave(naming.call, "LINKED", place)
            why |= {reached: place for reached in naming.reached if reached not in why}
    return why


def named_by(context: FileContext, node: cst.CSTNode) -> Target | None:
    """Return the Celery task that a literal names, or None."""
    text = text_of(node)
    return context.index.named(text) if text else None


def literals_of(context: FileContext, name: str) -> Iterator[cst.SimpleString]:
    """Yield the literals that a constant of the module holds, or one of a class in it."""
    owner, _, attribute = name.rpartition(".")
    values = [b.value for b in context.tree.module.bindings.get(name, ()) if b.kind is BindingKind.ASSIGN]
    for group in context.tree.module.bindings.get(owner, ()):
        if isinstance(group.node, cst.ClassDef):
            values += [value for known, value in class_constants(group.node) if known == attribute]
    for value in values:
        for node in (value, *context.values.items(value)) if value is not None else ():
            if isinstance(node, cst.SimpleString):
                yield node


def keep_declared(context: FileContext, changed: Collection[cst.CSTNode], kept: Collection[cst.CSTNode | str]) -> None:
    """Write the legacy name at a legacy task whose declaration reads it from a constant that gets the new one."""
    for call in context.tree.calls:
        decorator = context.parent(call)
        function = context.parent(decorator) if isinstance(decorator, cst.Decorator) else None
        named = next((a.value for a in call.args if a.keyword is not None and a.keyword.value == "name"), None)
        if not isinstance(function, cst.FunctionDef) or named is None or isinstance(named, cst.SimpleString):
            continue
        target = context.index.target(f"{context.values.where.module}.{function.name.value}")
        constants = constants_of(context, named) - set(kept)
        moves = constants or any(node in changed for node in strings_of(context, named))
        if target is not None and moves and not target.in_place and target.unified:
            context.replace(named, f'"{target.name}"')


def class_constants(node: cst.ClassDef) -> Iterator[tuple[str, cst.BaseExpression]]:
    """Yield the names that the body of a class assigns, with their values."""
    for line in node.body.body:
        for small in line.body if isinstance(line, cst.SimpleStatementLine) else ():
            if isinstance(small, cst.Assign):
                yield from ((t.target.value, small.value) for t in small.targets if isinstance(t.target, cst.Name))
            elif isinstance(small, cst.AnnAssign) and isinstance(small.target, cst.Name) and small.value is not None:
                yield small.target.value, small.value


def _constant_at(context: FileContext, node: cst.BaseExpression) -> str:
    """Return the dotted path of the constant of a module that an expression reads; empty for anything else."""
    constants = context.index.name_constants
    if not constants:
        return ""
    if isinstance(node, cst.Name):
        path = f"{context.values.where.module}.{node.value}"
        if path in constants and any(b.scope.parent is None for b in context.values.bindings(node)):
            return path
    path = context.values.only(node)
    if _of_self(node) and isinstance(owner := enclosing(context.tree, node, cst.ClassDef), cst.ClassDef):
        path = f"{context.values.where.module}.{owner.name.value}.{node.attr.value}"  # type: ignore[attr-defined]
    return path if path in constants else ""


def constants_of(context: FileContext, node: cst.BaseExpression) -> frozenset[str]:
    """Return the dotted paths of the constants by which files name tasks of each other that an expression reads."""
    return frozenset(path for read in _reads(node) if (path := _constant_at(context, read)))


def _of_self(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Attribute) and isinstance(node.value, cst.Name) and node.value.value in {"self", "cls"}


def _namings(context: FileContext) -> Iterator[Naming]:
    for call in context.tree.calls:
        is_method = isinstance(call.func, cst.Attribute) and call.func.attr.value in _METHODS
        if not is_method and context.values.only(call.func) not in _SIGNATURES:
            continue
        named = argument(call, 0, "name") or argument(call, 0, "task")
        if named is None:
            continue
        strings = strings_of(context, named.value)
        reads = list(_reads(named.value))
        constants = constants_of(context, named.value)
        names = [name for path in sorted(constants) for name in context.index.name_constants[path]]
        found = [named_by(context, node) for node in strings] + [context.index.named(name) for name in names]
        targets = tuple(dict.fromkeys(target for target in found if target is not None))
        if targets:
            yield Naming(call, strings, reads, constants, targets)


def _reads(node: cst.BaseExpression) -> Iterator[cst.BaseExpression]:
    """Yield the variables that a name is read from."""
    if isinstance(node, cst.Attribute) and node.attr.value == "value":
        yield from _reads(node.value)  # of a member of an enumeration
    elif isinstance(node, (cst.Name, cst.Attribute)):
        yield node
    elif isinstance(node, cst.Subscript):
        yield from _reads(node.value)
    elif isinstance(node, cst.IfExp):
        yield from _reads(node.body)
        yield from _reads(node.orelse)


def _loose(context: FileContext, namings: list[Naming]) -> Iterator[tuple[cst.CSTNode | str, cst.CSTNode]]:
    """Yield the literals and constants of tasks whose arguments change that something reads which names no task."""
    known = {read for naming in namings for read in naming.reads}
    for naming in namings:
        if any(target.operations for target in naming.targets):
            bindings = [b for read in naming.reads if isinstance(read, cst.Name) for b in context.values.bindings(read)]
            others = (other for b in bindings for other in context.tree.reads_of(b.node) if other not in known)
            if not naming.constants and (other := next(others, None)) is not None:
                yield from ((node, other) for node in naming.strings)
    changing = {path for path, names in context.index.name_constants.items() if _changes(context, names)}
    for load in context.tree.loads if changing else ():
        top: cst.BaseExpression = load
        path = ""
        while top not in known and (path := _constant_at(context, top)) not in changing:
            parent = context.parent(top)
            if not isinstance(parent, cst.Attribute):
                whole = context.values.only(top)
                yield from ((path, top) for path in changing if path.rpartition(".")[0] == whole)
                break
            top = parent
        else:
            if top not in known:
                yield path, top
    for statement in context.tree.imports if changing else ():
        yield from _passed_on(context, statement, changing)


def _changes(context: FileContext, names: Iterable[str]) -> bool:
    targets = [context.index.named(name) for name in names]
    return any(target.operations for target in targets if target is not None)


def _passed_on(
    context: FileContext, statement: cst.Import | cst.ImportFrom, changing: set[str]
) -> Iterator[tuple[str, cst.CSTNode]]:
    """Yield the constants that are imported and not read here: other files may take them from this one."""
    if isinstance(statement, cst.ImportFrom):
        base = context.values.base(statement)
        aliases = [] if isinstance(statement.names, cst.ImportStar) else statement.names
        for alias in aliases:
            path = f"{base}.{alias.evaluated_name}"
            if path in changing and not context.tree.reads_of(alias):
                yield path, alias


def _adapt(context: FileContext, naming: Naming) -> None:
    """Adapt what a call gives the task that it names."""
    call = naming.call
    for target in naming.targets:
        if target.retired:
            raise LeaveError("RETIRED-TASK", call, f"{target.name}: {target.reason}")
    if any(_of_self(read) for read in naming.reads) and any(target.operations for target in naming.targets):
        raise LeaveError("COMPUTED-NAME", call, "a subclass may name another task")
    check_routing(context, {arg.keyword.value: arg for arg in call.args if arg.keyword is not None}, naming.targets[0])
    args, kwargs = argument(call, 1, "args"), argument(call, 2, "kwargs")
    result = adapt_literals(context, naming.targets, args.value if args else None, kwargs.value if kwargs else None)
    if result is None:
        return
    text = "kwargs={" + ", ".join(f'"{name}": {value}' for name, value in result.items()) + "}"
    first = args or kwargs
    if first is None:
        if not (isinstance(call.func, cst.Attribute) and call.func.attr.value == "send_task"):
            raise LeaveError("SIGNATURE", call)
        if result:
            context.insert_after(call.args[-1].value, f", {text}")
        return
    if any(arg.keyword is None for arg in call.args[3:]):
        raise LeaveError("ARGUMENTS", call)
    context.replace(first, text)
    if args and kwargs:
        remove_items(context, call.args, [kwargs])
