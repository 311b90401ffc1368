"""Strings behind the names of a file: constants of other modules, members of enumerations."""

from __future__ import annotations

import ast
from dataclasses import replace

from migrator.inventory.callables import Load
from migrator.inventory.module_facts import ModuleFacts
from migrator.inventory.static_values import StaticValues, UnknownValueError


def following(facts: ModuleFacts, load: Load) -> ModuleFacts:
    """Return a file whose ``text`` also follows names to what they are given elsewhere in the project."""
    values = StaticValues(load, ())

    def follow(node: ast.expr) -> str | None:
        try:
            value = values.of(facts, node)
        except UnknownValueError:
            return None
        return value if isinstance(value, str) and "${" not in value else None

    return replace(facts, follow=follow)
