"""Is the label of the installed app free? Django starts with two apps of one label no more.

Only what stands in the settings and in the apps' own ``apps.py`` is known; nothing is imported.
Source: https://docs.djangoproject.com/en/5.2/ref/applications/#django.apps.AppConfig.label (by default the last part
of the package's name).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from codemods.schedules.settings_scopes import settings_modules
from migrator.inventory.module_facts import ModuleFacts, read_module
from migrator.inventory.source_files import module_file
from migrator.plan.model import Plan


def label_taken_by(plan: Plan, package: str) -> str:
    """Return ``file:line`` of another app of the project that has the label of the plan; empty if there is none.

    Args:
        plan: Names the label.
        package: The dotted name of the package that is installed.
    """
    modules: dict[str, ModuleFacts] = {}
    for name in settings_modules(plan.source_root, plan.project.settings, modules):
        for node in _installed(modules[name]):
            if _package(node.value) != package and _label(plan, str(node.value)) == plan.project.app_label:
                return f"{modules[name].file.relative_to(plan.folder)}:{node.lineno}"
    return ""


def _installed(facts: ModuleFacts) -> Iterator[ast.Constant]:
    """Yield the texts in every list of apps: ``INSTALLED_APPS``, and parts of it such as ``LOCAL_APPS``."""
    for node in facts.nodes:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if not isinstance(value, (ast.List, ast.Tuple, ast.BinOp)):
            continue
        if any(isinstance(target, ast.Name) and target.id.endswith("APPS") for target in targets):
            for item in ast.walk(value):
                if isinstance(item, ast.Constant) and isinstance(item.value, str):
                    yield item


def _package(text: object) -> str:
    """Return the package of an entry, which may name the configuration instead."""
    head, _, last = str(text).rpartition(".")
    return head.removesuffix(".apps") if last[:1].isupper() else str(text)


def _label(plan: Plan, text: str) -> str:
    """Return the label of an entry of ``INSTALLED_APPS``."""
    package = _package(text)
    wanted = text.rpartition(".")[2] if package != text else ""
    file = module_file(plan.source_root, f"{package}.apps")
    try:
        classes = read_module(plan.source_root, file, file.read_bytes()).tree.body if file is not None else []
    except (SyntaxError, ValueError, OSError):
        classes = []
    for node in classes:
        if isinstance(node, ast.ClassDef) and wanted in ("", node.name):
            for line in node.body:
                if isinstance(line, ast.Assign) and isinstance(line.value, ast.Constant):
                    names = [target.id for target in line.targets if isinstance(target, ast.Name)]
                    if "label" in names:
                        return str(line.value.value)
    return package.rpartition(".")[2]
