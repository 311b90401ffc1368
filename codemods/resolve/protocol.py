"""What the parts of the name resolution ask each other for; :class:`codemods.resolve.name_resolution.Values` is it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import libcst as cst

from codemods.syntax.scopes import Binding, Tree


class OfferedContainer(Protocol):
    """A container of tasks that a module offers to others."""

    def paths(self, key: str) -> frozenset[str]:
        """Return the dotted paths that it may hold under a key; all of them without one."""


class Resolver(Protocol):
    """Follows the names of one file."""

    tree: Tree
    #: Names that a star import brings, with their dotted path.
    stars: dict[str, str]

    @property
    def containers(self) -> Mapping[str, OfferedContainer]:
        """Containers of tasks that modules offer, by dotted path."""

    def only(self, node: cst.BaseExpression) -> str:
        """Return the one dotted path of an expression; empty if there are none or several."""

    def imported(self, binding: Binding) -> str:
        """Return the dotted path of an import."""

    def bindings(self, node: cst.Name) -> tuple[Binding, ...]:
        """Return what a name may be bound to where it stands."""

    def items(self, node: cst.BaseExpression) -> list[cst.BaseExpression]:
        """Return the items of a container that is written out; empty if unknown."""
