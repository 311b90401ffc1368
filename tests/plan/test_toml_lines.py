"""Lines of a plan's values: every path that the document has, on the line where a person finds it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migrator.plan.toml_lines import line_of, toml_lines

SAMPLE = Path(__file__).parents[2] / "fixtures/legacy_project/migration.toml"
FORMS = """\
a.b = 1 # x [
"q.x" = \"""
[no.table]
n = 1 \"""
[t."k k"]
n = [ 1.5, # ] "
  2, ["x", {a = 1, b.c = [3]}],
]
[[x]]
y = 1979-05-27T07:32:00Z
 [[x.z]]
 w = 'a "b" # c'
 [x.z.v]
 s = ''
[[x]]
 [[x.z]]
 w = {}
"""


def paths(value: Any, path: str = "") -> Iterator[str]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from paths(item, f"{path}[{index}]")


@pytest.mark.parametrize("text", [SAMPLE.read_text(), FORMS, ""])
def test_each_path_has_a_line_and_nothing_else_has(text: str) -> None:
    assert set(toml_lines(text)) == set(paths(tomllib.loads(text)))


def test_the_line_is_where_the_value_stands() -> None:
    lines = toml_lines(FORMS)
    expected = {"a.b": 1, "q.x": 2, "t.k k.n": 6, "t.k k.n[2][1].b.c[0]": 7, "x[0].z[0].v.s": 14, "x[1].z[0].w": 17}
    assert {path: lines[path] for path in expected} == expected


def test_what_is_missing_is_in_its_table() -> None:
    lines = toml_lines(FORMS)
    assert line_of(lines, "x[1].z[0].absent[3]") == 16
    assert line_of(lines, "nothing") is None


def test_every_line_of_the_sample_is_the_one_of_its_key() -> None:
    text = SAMPLE.read_text()
    written = text.splitlines()
    for path, line in toml_lines(text).items():
        if not path.endswith("]"):
            assert path.rpartition(".")[2] in written[line - 1], path
