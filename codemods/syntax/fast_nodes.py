"""LibCST's nodes, made faster for a process that does nothing but parse: it takes a fifth less time.

A node's hash is its identity in LibCST too, but computed in Python; and LibCST validates each node that its parser
has just made, as if it had been built by hand. Only worker processes ask for this: it changes the library as a whole.
Measured as :mod:`codemods.syntax.fast_import` says: 1.33 s of user time with it, 1.41 s without.
These are private parts of LibCST. Where one is not as it was when this was written, or a parse does not print back
afterwards, everything stays as LibCST has it: that takes longer, and changes nothing else.
Source: ``libcst/_nodes/base.py`` (``__hash__``, and the remark about performance in ``__post_init__``).
"""

from __future__ import annotations

from typing import Any

import libcst as cst

_SAMPLE = "import a.b as c\n\n\n@d\ndef e(f, *g: h) -> None:\n    return c(f)[0]  # i\n"


def make_fast() -> bool:
    """Take the identity as hash in C, and leave out the checks of what the parser made; return whether that is done."""
    if not _as_known():
        return False
    before: list[tuple[type, str, Any]] = []
    kinds: list[type] = [cst.CSTNode]
    for kind in kinds:
        kinds += kind.__subclasses__()
        _put(kind, "__hash__", object.__hash__, before)
    _put(cst.CSTNode, "__post_init__", lambda self: None, before)
    if _prints_back():
        return True
    for kind, name, value in reversed(before):
        setattr(kind, name, value)
    return False


def _as_known() -> bool:
    """True if equality is identity, every class has a hash of its own, and after its making a node is only checked."""
    made = vars(cst.CSTNode).get("__post_init__")
    code = getattr(made, "__code__", None)
    if code is None or code.co_names != ("_validate",) or "__hash__" not in vars(cst.CSTNode):
        return False
    one, other = cst.Name("a"), cst.Name("a")
    return one == one and one != other and hash(one) != hash(other)  # noqa: PLR0124


def _put(kind: type, name: str, value: object, before: list[tuple[type, str, Any]]) -> None:
    if name in vars(kind):
        before.append((kind, name, vars(kind)[name]))
        setattr(kind, name, value)


def _prints_back() -> bool:
    try:
        module = cst.parse_module(_SAMPLE)
        nodes = {module: 1, module.body[0]: 2}
        return module.code == _SAMPLE and nodes[module] == 1
    except Exception:  # noqa: BLE001  # whatever it is, LibCST is then taken as it is
        return False
