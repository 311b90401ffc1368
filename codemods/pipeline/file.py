"""The work on one file, in whichever process: prefilter, survey of re-exports, rewrite."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import libcst as cst

from codemods.calls.task_naming import class_constants, literals_of
from codemods.editing.context import FileContext
from codemods.editing.edits import OverlapError
from codemods.outcome import FileOutcome, Leftover, Survey
from codemods.pipeline.rewrite_file import rewrite_file
from codemods.plan.import_roots import ELSEWHERE, seen_from
from codemods.plan.plan_index import PlanIndex
from codemods.resolve.name_resolution import Values, Where, text_of
from codemods.resolve.shared_items import UNKNOWN
from codemods.syntax.scopes import BindingKind
from codemods.syntax.source import SourceFile, UnparsableError, read_source
from codemods.uses.names import STAR, planned_name
from codemods.uses.uses import imports_of, legacy_imports
from migrator.inventory.source_files import module_name
from migrator.wire.message import System


def parse(file: Path, data: bytes) -> SourceFile:
    """Parse one file; see :func:`codemods.syntax.source.read_source`."""
    return read_source(file, data)


def make_context(source: SourceFile, index: PlanIndex, shown: str) -> FileContext:
    """Return the context in which a file is rewritten.

    Raises:
        UnparsableError: It nests too deeply.
    """
    folder = source.file.parents[len(Path(shown).parts) - 1]
    index = seen_from(index, source.file, folder)
    module = module_name(index.root, source.file) or f"{ELSEWHERE}.{module_name(folder, source.file)}"
    where = Where(module, source.file.stem == "__init__")
    try:
        values = Values(source.tree, where)
        values.stars = _stars(values, index)
        values.containers = index.containers
    except RecursionError as error:
        raise UnparsableError("nests too deeply") from error
    return FileContext(source=source, index=index, values=values, shown=shown)


def _stars(values: Values, index: PlanIndex) -> dict[str, str]:
    """Return the names that star imports of legacy modules bring, tasks and others."""
    found: dict[str, str] = {}
    for statement in values.tree.imports:
        if isinstance(statement, cst.ImportFrom) and isinstance(statement.names, cst.ImportStar):
            base = values.base(statement)
            for name in index.offered.get(index.resolve(base), ()):
                found[name] = f"{base}.{name}"
            for path in index.containers:
                module, _, name = path.rpartition(".")
                if module == base and not name.startswith("_"):
                    found[name] = path
            for path in index.name_constants:
                module, _, name = path.rpartition(".")
                if module == base:
                    found[name] = path
    return found


def survey(source: SourceFile, index: PlanIndex, shown: str) -> Survey:
    """Return the tasks that a module offers under its own name, and what they will be called."""
    context = make_context(source, index, shown)
    module = context.values.where.module
    if not module or (module in index.modules and not index.converts(module)):
        return Survey(names=_names(context))
    exports: dict[str, str] = {}
    renames: dict[str, str] = {}
    for item in legacy_imports(context):
        if item.binding.scope.parent is not None or not _names_something(index, item.dotted):
            continue
        if isinstance(item.statement, cst.Import) and not item.alias.asname:
            continue
        name = f"{module}.{item.binding.name}"
        exports[name] = item.dotted
        new = planned_name(context, item)
        if new != item.binding.name:
            renames[name] = new
    for item in imports_of(context, index.stays.__contains__):
        if item.binding.scope.parent is None:
            exports[f"{module}.{item.binding.name}"] = item.dotted
    for name, path in context.values.stars.items():
        if index.target(path) is not None:
            exports[f"{module}.{name}"], renames[f"{module}.{name}"] = path, STAR
    for name, bindings in context.tree.module.bindings.items():
        if len(bindings) == 1 and bindings[0].kind is BindingKind.ASSIGN and bindings[0].value is not None:
            path = context.values.only(bindings[0].value)
            if path and path != UNKNOWN and index.target(path) is not None:
                exports[f"{module}.{name}"] = path
    return Survey(exports=exports, renames=renames, names=_names(context))


def _names(context: FileContext) -> dict[str, tuple[str, ...]]:
    """Return the constants of a module that hold names of Celery tasks that get other ones."""
    targets = [target for target in context.index.targets.values() if target.system is System.CELERY]
    changing = {target.name for target in targets if target.name != target.unified}
    found = {}
    names = list(context.tree.module.bindings) if changing else []
    for group in context.tree.module.bindings.values() if changing else ():
        classes = [binding.node for binding in group if isinstance(binding.node, cst.ClassDef)]
        names += [f"{node.name.value}.{name}" for node in classes for name, _ in class_constants(node)]
    for name in names:
        held = {text_of(node) or "" for node in literals_of(context, name)} & changing
        if held:
            found[f"{context.values.where.module}.{name}"] = tuple(sorted(held))
    return found


def _names_something(index: PlanIndex, dotted: str) -> bool:
    resolved = index.resolve(dotted)
    return resolved in index.targets or resolved in index.modules


def rewrite_source(source: SourceFile, index: PlanIndex, shown: str) -> FileOutcome:
    """Run every rewrite over one parsed file."""
    try:
        context = make_context(source, index, shown)
        try:
            rewrite_file(context)
            after = source.encode(context.result.edits.apply(source.text))
        except OverlapError as error:
            context.result.leftovers.clear()
            context.leave(source.module, "OVERLAP", str(error))
            return FileOutcome(
                file=source.file,
                shown=shown,
                before=source.data,
                after=source.data,
                leftovers=tuple(context.result.leftovers),
                kept_sends=_kept_sends(context, every=True),
            )
        if after != source.data:
            _check(after, source.file)
    except UnparsableError as error:
        return FileOutcome(file=source.file, shown=shown, before=source.data, after=source.data, unparsable=str(error))
    except Exception as error:  # noqa: BLE001  # an unexpected failure in one file must not stop the others; it is listed
        why = f"a rewrite failed on it, please report: {type(error).__name__}: {error}"
        return FileOutcome(file=source.file, shown=shown, before=source.data, after=source.data, unparsable=why)
    return FileOutcome(
        file=source.file,
        shown=shown,
        before=source.data,
        after=after,
        edits=context.result.edits.counts(),
        leftovers=_sorted(context.result.leftovers),
        kept_sends=_kept_sends(context, every=False),
        patched=frozenset(context.result.patched),
    )


def _kept_sends(context: FileContext, *, every: bool) -> tuple[tuple[str, int], ...]:
    """Return the tasks of which a send stays as it is, by path, with its line."""
    return tuple(
        (target.path, context.source.line(use.node))
        for use in context.uses
        if use.attribute is not None and (every or use.rewritten is False)
        for target in use.targets
        if not target.retired
    )


def _check(after: bytes, file: Path) -> None:
    """Check that a changed file parses again; Python's own parser goes first, because it is the fastest."""
    try:
        try:
            compile(after, str(file), "exec", dont_inherit=True, flags=ast.PyCF_ONLY_AST)
        except (SyntaxError, ValueError):
            read_source(file, after)  # newer syntax than this Python's
    except UnparsableError as error:
        raise UnparsableError(f"the rewritten file would not parse: {error}; nothing in it was changed") from error


def _sorted(leftovers: Iterable[Leftover]) -> tuple[Leftover, ...]:
    return tuple(sorted(leftovers, key=lambda item: (item.line, item.code)))
