"""What stays in the tree and imports a module that the plan retires: it would fail as soon as the file is gone.

An import that expects to fail, in ``try`` with ``except ImportError``, and one for type checkers alone don't count. One
of nothing but tasks that the plan retires with a reason is a warning: the rewrite lists each of their uses.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from migrator.inventory.source_files import absolute, module_name, python_files
from migrator.plan.model import Plan
from migrator.report import Finding, Severity

_EXPECTED = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


def retired_imports(plan: Plan) -> Iterator[Finding]:
    """Yield each import of a module that the plan retires, in a file that it doesn't.

    Raises:
        OSError: A file can't be read.
    """
    root, going = plan.source_root, [plan.folder / name for name in plan.project.retire]
    folders = [place for place in going if place.is_dir()]
    gone = {module_name(root, file) for file in (*going, *(file for place in folders for file in python_files(place)))}
    gone -= {""}
    without_successor = {task.path for task in plan.retired}
    words = [name.rpartition(".")[2].encode() for name in gone]
    for file in python_files(root) if gone else ():
        if any(file == place or file.is_relative_to(place) for place in going):
            continue
        source = file.read_bytes()
        if any(word in source for word in words):
            try:
                tree = ast.parse(source)
            except (SyntaxError, ValueError, RecursionError):
                continue
            module, package = module_name(root, file), file.stem == "__init__"
            for node in _imports(tree.body):
                named = list(_named(node, module, package=package))
                found = next((name for name in named if name in gone), "")
                if found:
                    told = {f"{found}.{alias.name}" for alias in node.names} <= without_successor
                    yield Finding(
                        code="RETIRE-IMPORTED",
                        severity=Severity.WARNING if told else Severity.ERROR,
                        where=f"{file.relative_to(plan.folder)}:{node.lineno}",
                        what="imports a module that the plan retires, and would fail without it",
                        found=found,
                        remedy="change the import, or take the file out of `retire`",
                    )


def _named(node: ast.Import | ast.ImportFrom, module: str, *, package: bool) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield from _with_parents(alias.name)
        return
    base = absolute(module, is_package=package, level=node.level, target=node.module or "")
    yield from _with_parents(base)
    yield from (f"{base}.{alias.name}" for alias in node.names)


def _with_parents(dotted: str) -> Iterator[str]:
    parts = dotted.split(".")
    return (".".join(parts[: index + 1]) for index in range(len(parts)))


def _imports(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports of a block and of those in it that run."""
    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test).rpartition(".")[2] == "TYPE_CHECKING":
            yield from _imports(node.orelse)
        elif isinstance(node, ast.Try) and any(_expects(handler) for handler in node.handlers):
            yield from _imports([*(item for handler in node.handlers for item in handler.body), *node.finalbody])
        else:
            for name in ("body", "orelse", "finalbody"):
                inner = getattr(node, name, None)
                yield from _imports(inner) if isinstance(inner, list) else ()
            for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
                yield from _imports(part.body)


def _expects(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(item is None or (isinstance(item, ast.Name) and item.id in _EXPECTED) for item in caught)
