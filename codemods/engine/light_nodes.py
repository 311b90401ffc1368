"""LibCST's nodes, made cheaper for a process that does nothing but parse: a fifth of its time.

A node's hash is its identity in LibCST too, only computed in Python; and its parser checks each node that it has just
made, as if a person had put it together. Only worker processes ask for this: it changes the library for all of them.
Source: ``libcst/_nodes/base.py`` (``__hash__``, and the remark about performance in ``__post_init__``).
"""

from __future__ import annotations

import libcst as cst


def lighten() -> None:
    """Take the identity as hash in C, and leave out the checks of what the parser made."""
    kinds: list[type] = [cst.CSTNode]
    for kind in kinds:
        kinds += kind.__subclasses__()
        kind.__hash__ = object.__hash__  # type: ignore[assignment, method-assign]
    cst.CSTNode.__post_init__ = lambda self: None  # type: ignore[method-assign]
