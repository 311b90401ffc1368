"""What ``**options`` stands for, first what can't be known."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from migrator.inventory.callables import loading
from migrator.inventory.unpacked_options import unpacked

HELPERS = """\
import os
SLOW = {"time_limit": 1}
CHANGED = {"a": 1}
CHANGED["a"] = 2
TWICE = {"a": 1}
TWICE = {"a": 2}
def defaults(**extra):
    '''What all have.'''
    return {"max_retries": 5, **extra}
def named(queue, retries=3, *, age=None):
    return dict(queue_name=queue, max_retries=retries, max_age=age)
def branch(**extra):
    if extra:
        return {}
    return {"a": 1}
@os.wraps
def wrapped():
    return {"a": 1}
def endless():
    return endless()
def several(*args):
    return {"a": args}
def sized():
    return SLOW | {"a": 1}
"""


def options(folder: Path, text: str) -> dict[str, str] | None:
    (folder / "helpers.py").write_text(HELPERS)
    (folder / "jobs.py").write_text("import helpers as h\nfrom helpers import defaults\nOWN = {'b': 2}\n")
    load = loading(folder, {})
    facts = load("jobs")
    assert facts is not None
    found = unpacked(facts, ast.parse(text, mode="eval").body, load)
    return None if found is None else {name: ast.unparse(option.node) for name, option in found.items()}


@pytest.mark.parametrize(
    "text",
    [
        *("h.CHANGED", "h.TWICE", "h.branch()", "h.wrapped()", "h.endless()", "h.several(1)", "h.missing()", "other"),
        *("h.named()", "h.named('a', **x)", "h.defaults(1)", "{x: 1}", "{**x}", "make()()", "{'a': 1}.copy()"),
    ],
)
def test_what_can_not_be_known(tmp_path: Path, text: str) -> None:
    assert options(tmp_path, text) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("OWN", {"b": "2"}),
        ("h.SLOW", {"time_limit": "1"}),
        ("defaults()", {"max_retries": "5"}),
        ("defaults(max_retries=1, priority=2)", {"max_retries": "1", "priority": "2"}),
        ("h.defaults(**OWN)", {"max_retries": "5", "b": "2"}),
        ("h.named('mail')", {"queue_name": "'mail'", "max_retries": "3", "max_age": "None"}),
        ("h.named('mail', 7, age=9)", {"queue_name": "'mail'", "max_retries": "7", "max_age": "9"}),
        ("h.sized()", {"time_limit": "1", "a": "1"}),
        ("dict(OWN=1, **OWN)", {"OWN": "1", "b": "2"}),
    ],
)
def test_what_is_followed(tmp_path: Path, text: str, found: dict[str, str]) -> None:
    assert options(tmp_path, text) == found
