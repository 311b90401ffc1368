"""Our scopes and spans against LibCST's own providers, on the source of an installed library."""

from __future__ import annotations

from pathlib import Path

import dramatiq
import libcst as cst
import pytest
from libcst.metadata import Assignment, BuiltinAssignment, ByteSpanPositionProvider, MetadataWrapper, ScopeProvider

from codemods.syntax.read_tree import read_tree
from codemods.syntax.source import read_source
from codemods.syntax.spans import character_spans, statement_spans

FILES = sorted(Path(dramatiq.__file__).parents[1].rglob("*.py"))[::3]
ODD = """
x = 1; é = '☕'
def f(a, b=x, *c, d: 'x' = é, **e) -> x:
    global g
    g = [y for y in a if (z := y)]
    def inner():
        nonlocal a
        a = z
    return lambda q: q + x
class C(x):
    x = 2
    def m(self): return x
try: import m.n as o, p.q
except (ValueError, x) as v: v
for i, (j, *k) in x: del i
with x as w, (yield_) as t: w
async def h():
    async with x as u: await u
    return (((x)), (x,))
match x:
    case {"k": r, **s}: r, s
    case [x2, *x3] | x4: x4
"""


def sources() -> list[tuple[str, bytes]]:
    return [(file.name, file.read_bytes()) for file in FILES] + [("odd", ODD.encode())]


@pytest.mark.parametrize(("name", "data"), sources(), ids=lambda value: value if isinstance(value, str) else "")
def test_spans(name: str, data: bytes) -> None:
    source = read_source(Path(name), data)
    expected = MetadataWrapper(source.module, unsafe_skip_copy=True).resolve(ByteSpanPositionProvider)
    assert expected
    for node, span in expected.items():
        start, end = source.bare_span(node)
        assert (start - source.lead, end - start) == (span.start, span.length), type(node)


@pytest.mark.parametrize(("name", "data"), sources(), ids=lambda value: value if isinstance(value, str) else "")
def test_spans_of_statements_that_are_printed_alone(name: str, data: bytes) -> None:
    source = read_source(Path(name), data)
    every, _ = character_spans(source.module)
    alone = [statement_spans(source.module, statement, source.seen) for statement in source.module.body]
    for found in alone:
        assert {node: every[node] for node in found} == found
    assert sum(1 for found in alone if found) * 2 >= len(alone)


@pytest.mark.parametrize("twice", ["same.call()\n", "def same():\n    call()\n"])
def test_a_statement_that_is_there_twice_is_found_by_printing_everything(twice: str) -> None:
    text = f"{twice}x = '''\n{twice}'''\n\u00fc = 1\n{twice}"
    source = read_source(Path("odd.py"), text.encode())
    first, _, _, last = source.module.body
    assert statement_spans(source.module, last, source.seen) == {}
    assert source.span(last)[0] == len(text.encode()) - len(twice)
    assert source.span(first)[0] == 0


@pytest.mark.parametrize(("name", "data"), sources(), ids=lambda value: value if isinstance(value, str) else "")
def test_scopes(name: str, data: bytes) -> None:
    source = read_source(Path(name), data)
    tree = read_tree(source.module)
    scopes = {s for s in MetadataWrapper(source.module, unsafe_skip_copy=True).resolve(ScopeProvider).values() if s}
    theirs: dict[cst.CSTNode, set[str]] = {}
    for scope in scopes:
        for access in scope.accesses:
            node: cst.CSTNode = access.node
            while isinstance(node, cst.Attribute):
                node = node.value
            if isinstance(node, cst.Name):
                kinds = {type(found).__name__ for found in access.referents if not isinstance(found, BuiltinAssignment)}
                bound = {found.name for found in access.referents if isinstance(found, Assignment)}
                theirs[node] = bound or kinds
    compared = 0
    for load in tree.loads:
        if load not in theirs:
            continue
        compared += 1
        mine = {binding.name for binding in tree.scopes[load].lookup(load.value)}
        if theirs[load]:
            assert mine, f"{load.value} is bound for LibCST"
    assert compared or len(tree.loads) == 0
