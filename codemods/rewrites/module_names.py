"""Legacy modules and functions named as import paths: ``import_module``, ``import_string``, ``imports=``, ``__all__``.

``getattr(module, "task")`` is followed too. Source: ``importlib``, ``django/utils/module_loading.py``,
``celery/app/defaults.py`` (``imports``, ``include``).
"""

from __future__ import annotations

import libcst as cst

from codemods.editing.context import FileContext, LeaveError, Use
from codemods.editing.literals import argument, replace_string
from codemods.protocol import Rewrite
from codemods.resolve.name_resolution import text_of
from codemods.uses.names import STAR

_MODULE_CALLS = frozenset({"importlib.import_module", "builtins.__import__"})
_PATH_CALLS = frozenset({"django.utils.module_loading.import_string", "celery.utils.imports.symbol_by_name"})
_LISTS = frozenset({"imports", "include", "CELERY_IMPORTS", "CELERY_INCLUDE", "packages"})


def rewrite(context: FileContext) -> None:
    """Rewrite import paths in strings."""
    for call in context.tree.calls:
        called = context.values.only(call.func)
        if called in _MODULE_CALLS and call.args and isinstance(call.args[0].value, cst.SimpleString):
            with context.attempt(call):
                _import_module(context, call, call.args[0].value)
        elif called in _PATH_CALLS and call.args and isinstance(call.args[0].value, cst.SimpleString):
            with context.attempt(call):
                _import_string(context, call.args[0].value)
        elif isinstance(call.func, cst.Attribute) and call.func.attr.value == "autodiscover_tasks":
            with context.attempt(call):
                _autodiscover(context, call)
    for node in context.tree.strings:
        if isinstance(node, cst.SimpleString):
            if _in_all(context, node):
                _exported(context, node)
            elif _in_list(context, node):
                with context.attempt(node):
                    _listed(context, node)


def _import_module(context: FileContext, call: cst.Call, node: cst.SimpleString) -> None:
    module = text_of(node) or ""
    if module not in context.index.modules:
        return
    uses = [use for use in context.uses if not use.direct and use.target.path.rpartition(".")[0] == module]
    uses = [use for use in uses if _from_call(context, use, call)]
    moving = [use for use in uses if not use.target.in_place]
    if not uses and module not in context.index.retired_modules:
        return
    homes = {use.target.unified_path.rpartition(".")[0] for use in moving}
    followed = len(moving) == len(uses) and all(use.rewritten for use in uses)
    if not moving or len(homes) != 1 or not followed or _other_reads(context, call, uses):
        raise LeaveError("MODULE-DYNAMIC", call, module)
    replace_string(context, node, homes.pop())
    for use in moving:
        _rename(context, use)


def _from_call(context: FileContext, use: Use, call: cst.Call) -> bool:
    """True if the module of a use is the value of this call, directly or through one variable."""
    base = use.node.value if isinstance(use.node, cst.Attribute) else None
    if isinstance(use.node, cst.Call) and use.node.args:
        base = use.node.args[0].value
    if base is call:
        return True
    return isinstance(base, cst.Name) and any(b.value is call for b in context.values.bindings(base))


def _other_reads(context: FileContext, call: cst.Call, uses: list[Use]) -> bool:
    """True if a variable that holds the module is read for anything but these uses."""
    bases = set()
    for use in uses:
        node = use.node
        bases.add(
            node.value
            if isinstance(node, cst.Attribute)
            else node.args[0].value
            if isinstance(node, cst.Call)
            else node
        )
    for load in context.tree.loads:
        if load not in bases and any(b.value is call for b in context.values.bindings(load)):
            return True
    return False


def _rename(context: FileContext, use: Use) -> None:
    if isinstance(use.node, cst.Attribute):
        context.replace(use.node.attr, use.target.leaf)
    elif isinstance(use.node, cst.Call) and isinstance(use.node.args[1].value, cst.SimpleString):
        replace_string(context, use.node.args[1].value, use.target.leaf)


def _import_string(context: FileContext, node: cst.SimpleString) -> None:
    target = context.index.target(text_of(node) or "")
    if target is None:
        return
    if target.retired:
        raise LeaveError("RETIRED-TASK", node, f"{target.name}: {target.reason}")
    if target.in_place:
        return
    raise LeaveError("MODULE-DYNAMIC", node, target.path)


def _autodiscover(context: FileContext, call: cst.Call) -> None:
    """Check ``autodiscover_tasks``: Celery silently skips a package whose module is gone.

    Raises:
        LeaveError: It would search for a module that is removed.
    """
    packages, related = argument(call, 0, "packages"), argument(call, 1, "related_name")
    name = text_of(related.value) if related is not None else "tasks"
    for node in context.values.items(packages.value) if packages is not None else ():
        if f"{text_of(node)}.{name}" in context.index.retired_modules:
            raise LeaveError("MODULE-DYNAMIC", call, f"{text_of(node)}.{name}")


def _in_all(context: FileContext, node: cst.SimpleString) -> bool:
    """True for an item of the module's ``__all__``."""
    element = context.parent(node)
    holder = context.parent(element) if isinstance(element, cst.Element) else None
    statement = context.parent(holder) if holder is not None else None
    if isinstance(statement, cst.Assign):
        targets: list[cst.BaseExpression] = [t.target for t in statement.targets]
    elif isinstance(statement, (cst.AugAssign, cst.AnnAssign)):
        targets = [statement.target]
    else:
        return False
    return any(isinstance(target, cst.Name) and target.value == "__all__" for target in targets)


def _exported(context: FileContext, node: cst.SimpleString) -> None:
    name = text_of(node) or ""
    new = context.index.renames.get(f"{context.values.where.module}.{name}")
    if new == STAR:
        return  # the name stays: :mod:`codemods.rewrites.star_imports` imports it, or the star goes on bringing it
    if (new and any(use.rewritten for use in context.uses)) or (new and not _kept(context, name)):
        replace_string(context, node, new)


def _kept(context: FileContext, name: str) -> bool:
    return any(
        item.binding.name == name and any(not use.rewritten for use in item.uses) for item in context.result.imports
    )


def _in_list(context: FileContext, node: cst.SimpleString) -> bool:
    """True for an item of a Celery ``imports`` or ``include`` list."""
    element = context.parent(node)
    holder = context.parent(element) if isinstance(element, cst.Element) else None
    owner = context.parent(holder) if holder is not None else None
    if isinstance(owner, cst.Arg):
        return owner.keyword is not None and owner.keyword.value in _LISTS
    if isinstance(owner, cst.Assign):
        return any(
            (isinstance(t.target, cst.Name) and t.target.value in _LISTS)
            or (isinstance(t.target, cst.Attribute) and t.target.attr.value in _LISTS)
            for t in owner.targets
        )
    return False


def _listed(context: FileContext, node: cst.SimpleString) -> None:
    module = text_of(node) or ""
    if module not in context.index.retired_modules:
        return
    inside = [t for t in context.index.targets.values() if t.path.rpartition(".")[0] == module and t.unified]
    homes = {target.unified_path.rpartition(".")[0] for target in inside}
    if len(homes) != 1:
        raise LeaveError("LEGACY-STRING", node, module)
    replace_string(context, node, homes.pop())


REWRITE = Rewrite(name="module_names", whole_file=rewrite, last=True)
