"""A parsed file with its scopes."""

from __future__ import annotations

import libcst as cst

from codemods.syntax.scope_walk import Walk
from codemods.syntax.scopes import Scope, Tree


def read_tree(module: cst.Module) -> Tree:
    """Return the scopes of a parsed file.

    Raises:
        RecursionError: The file nests deeper than Python's recursion limit.
    """
    tree = Tree(Scope(module, None))
    Walk(tree).visit_children(module, tree.module)
    return tree
