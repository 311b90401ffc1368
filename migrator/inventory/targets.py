"""Whether the unified tasks that a plan names are in the source, under the names that the plan gives them.

What the rewrite points callers at has to be there before: an import of something that isn't ends in an ImportError, and
a message under a name that no worker registers is never run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from migrator.errors import did_you_mean
from migrator.inventory.module_facts import read_module
from migrator.inventory.scan import Inventory
from migrator.inventory.source_files import module_file, module_files
from migrator.plan.model import Plan
from migrator.report import Finding, Severity
from migrator.wire.message import System


def check_targets(plan: Plan, inventory: Inventory) -> Iterator[Finding]:
    """Yield an error for each unified task that is not there, or is registered under another name."""
    found: dict[str, frozenset[str] | None] = {}
    for task in plan.tasks:
        module, _, function = task.path.rpartition(".")
        if module not in found:
            found[module] = _names(plan, module)
        names = found[module]
        if names is None:
            continue
        if function not in names:
            what = "the unified task is not in the source" if names else "the module of the unified task is missing"
            remedy = did_you_mean(function, names) or "write it first, correct `path`, or map the task to itself"
            yield _error("PLAN-NO-TARGET", f"{plan.file}: {task.name}", what, f"path = {task.path!r}", remedy)
    planned = {task.path: task for task in plan.tasks}
    for definition in inventory.tasks:
        named = planned.get(definition.path)
        if definition.system is System.CELERY and named is not None and definition.name not in ("", named.name):
            found_at = f"{definition.file}:{definition.line} registers {definition.name!r}"
            remedy = f"name = {definition.name!r}, or give the task this name where it is defined"
            what = "the task is registered under another name"
            yield _error("PLAN-NAME", f"{plan.file}: {named.name}", what, found_at, remedy)


def _names(plan: Plan, module: str) -> frozenset[str] | None:
    """Return the top-level names of a module, none if it isn't there; None if they can't be known."""
    file = module_file(plan.source_root, module)
    if file is None:
        return None if _is_installed(plan, module) else frozenset()
    try:
        facts = read_module(plan.source_root, file, file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return None
    if facts.stars:
        return None
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    defined = {node.name for node in facts.nodes if isinstance(node, kinds)}
    return frozenset(defined | facts.values.keys() | facts.bindings.keys())


def _is_installed(plan: Plan, module: str) -> bool:
    """Tell whether the rewrite brings the module."""
    file, folder = module_files(plan.source_root, module)[0], plan.folder / plan.project.install_to
    return bool(plan.project.install_package) and file.with_suffix("").is_relative_to(folder)


def _error(code: str, where: str, what: str, found: str, remedy: str) -> Finding:
    """Return an error about a plan."""
    return Finding(code=code, severity=Severity.ERROR, where=where, what=what, found=found, remedy=remedy)
