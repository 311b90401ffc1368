"""LibCST's private parts are changed where they are as expected, and left alone everywhere else."""

from __future__ import annotations

import subprocess
import sys

import libcst as cst
import pytest

from codemods.syntax.fast_nodes import make_fast

CHILD = """
import libcst as cst
from codemods.syntax.fast_nodes import make_fast
assert make_fast()
assert cst.Name.__hash__ is object.__hash__
cst.Name("")  # not checked any more
assert cst.parse_module("a = b\\n").code == "a = b\\n"
"""


def untouched() -> None:
    assert cst.Name.__hash__ is not object.__hash__
    assert cst.CSTNode.__hash__ is not object.__hash__
    with pytest.raises(cst.CSTValidationError):
        cst.Name("")


def test_where_everything_is_as_known_nodes_are_faster() -> None:
    subprocess.run([sys.executable, "-c", CHILD], check=True, timeout=120)


def test_nodes_that_do_something_else_when_they_are_made_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def more(self: cst.CSTNode) -> None:
        self._validate()
        self.validate_types_shallow()

    with monkeypatch.context() as patch:
        patch.setattr(cst.CSTNode, "__post_init__", more)
        assert not make_fast()
    untouched()


def test_nodes_that_are_equal_by_value_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(cst.Name, "__eq__", lambda self, other: self.value == other.value)
        assert not make_fast()
    untouched()


def test_what_was_changed_is_put_back_if_a_parse_does_not_print_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("codemods.syntax.fast_nodes._SAMPLE", "this is no Python\n")
        assert not make_fast()
    untouched()


def test_nodes_that_are_not_frozen_are_still_themselves() -> None:
    """LibCST is imported once a process, so this takes another one."""
    code = """
import dataclasses
from codemods.syntax.fast_import import fast_import
original = dataclasses.dataclass
with fast_import():
    import libcst
    @dataclasses.dataclass(frozen=True)
    class Mine:
        x: int
assert dataclasses.dataclass is original
assert Mine.__dataclass_params__.frozen and not libcst.Name.__dataclass_params__.frozen
text = "@a\\ndef b(c, *d):\\n    return c[0]  # e\\n"
module = libcst.parse_module(text)
assert module.code == text
one, other = libcst.Name("a"), libcst.Name("a")
assert one == one and one != other and len({one, other}) == 2
assert one.with_changes(value="z").value == "z" and one.value == "a"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
