"""The scopes of a project's settings: modules that import everything from each other, and classes in them.

Source: https://docs.djangoproject.com/en/5.2/topics/settings/, https://django-configurations.readthedocs.io (a class
whose attributes are the settings).
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from migrator.inventory.module_facts import ModuleFacts, read_module
from migrator.inventory.source_files import module_file

_MOST = 20


@dataclass(slots=True)
class SettingsScope:
    """One scope: a module, or a class in it, and what it binds."""

    facts: ModuleFacts
    #: Name of the class; empty for the module.
    owner: str = ""
    #: Every value that a name is given here, in order; ``+=`` and ``|=`` only add to one.
    values: dict[str, list[ast.expr]] = field(default_factory=dict)


def settings_modules(root: Path, settings: str, modules: dict[str, ModuleFacts]) -> list[str]:
    """Return the settings module and those of the project that it imports everything from, in the order of look-up.

    Those that were not parsed yet are added to ``modules``.
    """
    found: list[str] = []
    waiting = [settings]
    while waiting and len(found) < _MOST:
        name = waiting.pop(0)
        file = module_file(root, name)
        if name in found or file is None:
            continue
        try:
            facts = modules.get(name) or read_module(root, file, file.read_bytes())
        except (SyntaxError, ValueError, OSError):
            continue
        modules[name] = facts
        found.append(name)
        waiting += facts.stars
    return found


def settings_scopes(modules: Iterable[ModuleFacts]) -> list[SettingsScope]:
    """Return the scopes of modules: each module, then its classes, those that build on others first."""
    found: list[SettingsScope] = []
    for facts in modules:
        found.append(_scope(facts, "", facts.tree.body))
        classes = [node for node in facts.tree.body if isinstance(node, ast.ClassDef)]
        found += [_scope(facts, node.name, node.body) for node in reversed(classes)]
    return found


def bound(scopes: Iterable[SettingsScope], name: str) -> SettingsScope | None:
    """Return the scope whose value counts: the first that binds a name."""
    return next((scope for scope in scopes if name in scope.values), None)


def _scope(facts: ModuleFacts, owner: str, body: list[ast.stmt]) -> SettingsScope:
    scope = SettingsScope(facts, owner)
    for statement in _statements(body):
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        value = getattr(statement, "value", None)
        for target in targets:
            if isinstance(target, ast.Name) and value is not None:
                scope.values.setdefault(target.id, []).append(value)
    return scope


def _statements(body: Iterable[ast.stmt]) -> Iterable[ast.stmt]:
    """Yield statements and those in branches, not those of functions and classes."""
    for statement in body:
        yield statement
        if isinstance(statement, (ast.If, ast.Try, ast.With)):
            for part in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(statement, part, ()))
            for handler in getattr(statement, "handlers", ()):
                yield from _statements(handler.body)
