"""Decide every use of a legacy task in one file, then run the whole-file rewrites, imports last."""

from __future__ import annotations

import libcst as cst

from codemods.calls.actor_calls import partial_of
from codemods.editing.comments import dismiss, mark
from codemods.editing.context import FileContext, LeaveError, Use
from codemods.editing.edits import Placed
from codemods.outcome import Leftover
from codemods.pipeline.registry import handlers, rewrites
from codemods.plan.policy import ACTORS
from codemods.plan.retired_names import named_in_python
from codemods.resolve.name_resolution import text_of
from codemods.uses.container_uses import mark_containers
from codemods.uses.delegation import delegates
from codemods.uses.uses import collect_uses, is_mixed, legacy_imports, own_names
from migrator.wire.message import System

#: Attributes that a converted actor has as a Celery task.
_TASK_ATTRIBUTES = frozenset({"delay", "apply_async", "apply", "s", "si", "signature", "run", "name"})


def rewrite_file(context: FileContext) -> None:
    """Fill the context's result."""
    every = rewrites()
    methods = handlers(every)
    context.values.own = own_names(context.index, context.values.where.module)
    context.result.imports = legacy_imports(context)
    collect_uses(context, context.result.imports)
    mark_containers(context)
    made: dict[int, list[Placed]] = {}
    for use in sorted(context.uses, key=lambda item: _extent(context, item)):
        before, stays = context.result.edits.mark(), False
        with context.attempt(use.node) as attempt:
            stays = delegates(context, use)
            if not stays:
                _decide(context, use, methods)
            if use.container in context.index.open_containers:
                raise LeaveError("SHARED-CONTAINER", use.node, use.container)
        use.rewritten = not (attempt.failed or stays)
        made[id(use)] = context.result.edits.since(before)
    _keep_links_together(context, made)
    for origin, nodes in context.result.containers_lost.items():
        if origin in context.index.open_containers:
            for node in nodes:
                context.leave(node, "SHARED-CONTAINER", f"{origin}: what is done with it here can't be followed")
    for rewrite in sorted(every, key=lambda item: (item.last, item.name)):
        if rewrite.whole_file:
            context.result.rewrite_name = rewrite.name
            rewrite.whole_file(context)
    _name_the_rest(context)
    dismiss(context)
    if context.index.mark:
        mark(context)


def _name_the_rest(context: FileContext) -> None:
    """List the lines that still mention a removed module: comments, docstrings, strings."""
    named = list(named_in_python(context.index, context.source.text, context.result.edits.spans()))
    if not named:
        return
    listed = {leftover.line for leftover in context.result.leftovers}
    listed |= {context.source.line(use.node) for use in context.uses if not use.rewritten}
    listed |= {context.source.line(statement) for statement in context.tree.imports}
    listed |= _own_lines(context)
    whole = {(context.source.line(node), text_of(node)) for node in context.tree.strings if _is_value(context, node)}
    for offset, name in named:
        line = context.source.line_at(offset)
        if line not in listed:
            listed.add(line)
            found = context.source.line_text(line).strip()
            code = "LEGACY-STRING" if (line, name) in whole else "TEXT-NAME"
            context.result.leftovers[Leftover(code=code, line=line, found=found, detail=name)] = None


def _own_lines(context: FileContext) -> set[int]:
    """Return the lines on which definitions of legacy tasks give them their names."""
    module, targets = context.values.where.module, context.index.targets
    return {
        line
        for node in context.tree.definitions
        if f"{module}.{node.name.value}" in targets
        for decorator in node.decorators
        for line in range(context.source.line(decorator), context.source.line(node.name) + 1)
    }


def _is_value(context: FileContext, node: cst.SimpleString | cst.FormattedString) -> bool:
    """True for a plain string that isn't a statement of its own."""
    return isinstance(node, cst.SimpleString) and not isinstance(context.parent(node), cst.Expr)


def _extent(context: FileContext, use: Use) -> int:
    start, end = context.source.span(use.call or use.node)
    return end - start


def _decide(context: FileContext, use: Use, methods: dict) -> None:  # type: ignore[type-arg]
    retired = [target for target in use.targets if target.retired]
    if retired:
        raise LeaveError("RETIRED-TASK", use.node, f"{retired[0].name}: {retired[0].reason}")
    if any(target.stuck and target.in_place for target in use.targets):
        if _in_definition(context, use):
            return
        raise LeaveError("LINKED", use.node, f"{use.target.path} stays an actor")
    systems = {target.system for target in use.targets}
    if len(systems) > 1:
        raise LeaveError("MIXED-TASKS", use.node, ", ".join(sorted(target.name for target in use.targets)))
    system = systems.pop()
    same_call = system is System.CELERY and not use.target.operations
    if not same_call and is_mixed(context, use):
        raise LeaveError("AMBIGUOUS", use.node)
    if use.target.converted and (use.attribute is None or use.attribute.attr.value in _TASK_ATTRIBUTES):
        return
    key = use.attribute.attr.value if use.attribute is not None else "()" if use.call is not None else ""
    if key in use.target.members or _in_definition(context, use):
        return
    own = not use.target.in_place and context.values.where.module == use.target.path.rpartition(".")[0]
    if own and not _may_import(context, use):
        raise LeaveError("OWN-ACTOR", use.node, use.target.name)
    if own and key == "()":
        return  # the function that is left behind
    found = methods.get((system, key))
    if found is None:
        if system is System.CELERY or use.target.converted:
            return
        raise LeaveError("ACTOR-ATTRIBUTE", use.attribute or use.node, key)
    context.result.rewrite_name, handler = found
    handler(context, use)
    if own:
        module, _, name = use.target.unified_path.rpartition(".")
        context.replace(use.node, context.local_import(module, name))


def _may_import(context: FileContext, use: Use) -> bool:
    """Tell whether the module of a definition that is left behind may import the one that replaces it."""
    here = f"{context.values.where.module}."
    return use.target.left_behind and not any(path.startswith(here) for path in context.index.named_by_unified)


def _in_definition(context: FileContext, use: Use) -> bool:
    """True for the function in ``f = dramatiq.actor(f)``, and for a base in ``class B(A)``."""
    if use.attribute is not None or use.call is not None or not isinstance(use.node, cst.Name):
        return False
    if f"{context.values.where.module}.{use.node.value}" not in context.index.targets:
        return False
    holder = context.parent(context.parent(use.node) or use.node)
    if isinstance(holder, cst.ClassDef):
        return True
    if not isinstance(holder, cst.Call):
        return False
    function = holder.func if not isinstance(holder.func, cst.Call) else holder.func.func
    return context.values.only(function) in ACTORS or partial_of(context, function) is not None


def _keep_links_together(context: FileContext, made: dict[int, list[Placed]]) -> None:
    """A variable's uses and the places that fill it are rewritten together or not at all."""
    broken = {use.whole: use for use in context.uses if use.whole is not None and not use.rewritten}
    for use in context.uses:
        if use.whole in broken and use.rewritten:
            _leave_linked(context, use, made, broken[use.whole])
    derived = [use for use in context.uses if not use.direct]
    if not derived:
        return
    followed = {path for use in derived for path in _paths(use)}
    # What several files share is decided for all of them together.
    linked = [use for use in context.uses if _linked(use) and use.container not in context.index.read_containers]
    while True:
        stuck = {path: use for use in linked if not use.rewritten for path in _paths(use)}
        turned = [use for use in linked if use.rewritten and _paths(use) & stuck.keys()]
        relevant = [use for use in turned if _paths(use) & followed]
        if not relevant:
            return
        for use in relevant:
            _leave_linked(context, use, made, next(stuck[path] for path in _paths(use) if path in stuck))


def _leave_linked(context: FileContext, use: Use, made: dict[int, list[Placed]], other: Use) -> None:
    context.result.edits.discard(made[id(use)])
    use.rewritten = False
    context.leave(use.node, "LINKED", f"the one in line {context.source.line(other.node)}")


def _linked(use: Use) -> bool:
    return not use.direct or (use.attribute is None and use.call is None)


def _paths(use: Use) -> set[str]:
    return {target.path for target in use.targets}
