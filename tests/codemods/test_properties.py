"""Laws that hold for any file: idempotent, byte for byte outside what it changes, silent where nothing is named."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from corpus_project import make_project, read_cases
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from codemods.outcome import FileOutcome
from codemods.pipeline.file import rewrite_source
from codemods.pipeline.project import build_index
from codemods.plan.plan_index import PlanIndex
from codemods.syntax.source import UnparsableError, read_source

CASES = sorted(Path(__file__).parent.rglob("data/**/*.txt"))
NOISE = [
    "x   =  1   # odd spacing\n",
    "def noise( a,b = 2 ) :\n\treturn a+b   \n",
    "'''text with add_one and\n  legacy words: actors'''\n",
    "é = '☕'  # wide\n",
    "\x0c\n\n",
    "if True: pass; y = 2\n",
    "class Odd (object) :\n    z = lambda self , q : q\n",
    "try:\n    import json as _json\nexcept ImportError: _json = None\n",
    "value = (1 +\n         2)  # continued\n",
    "print ( f'{x!r:>{10}}' )\n",
    "@staticmethod\ndef deco(*args, **kwargs): ...\n",
    "socket.send(b'x')\n",
    "with open('f') as g, open('h') as h: g.read()\n",
]
SHAPES = sorted(
    {
        case.before["src/app.py"]
        for file in CASES
        for case in read_cases(file)
        if set(case.before) == {"src/app.py"} and "import *" not in case.before["src/app.py"]
    }
)


@cache
def index() -> PlanIndex:
    with tempfile.TemporaryDirectory() as name:
        return build_index(make_project(Path(name), {}))


def run(data: bytes) -> FileOutcome:
    file = index().root / "app.py"
    return rewrite_source(read_source(file, data), index(), "app.py")


def valid(text: str) -> bool:
    try:
        compile(text, "app.py", "exec")
        read_source(Path("app.py"), text.encode())
    except (SyntaxError, UnparsableError):
        return False
    return True


ends = st.sampled_from(["\n", "\r\n"])


@given(st.lists(st.sampled_from(NOISE), max_size=8), ends)
def test_a_file_that_names_nothing_is_never_changed(parts: list[str], end: str) -> None:
    data = "".join(parts).replace("\n", end).encode()
    outcome = run(data)
    assert outcome.after == data
    assert outcome.leftovers == ()
    assert not outcome.unparsable


@given(st.lists(st.one_of(st.sampled_from(NOISE), st.sampled_from(SHAPES)), min_size=1, max_size=8), ends)
@settings(max_examples=150)
@example(parts=['CELERY_TASK_ROUTES = {"legacy.jobs.*": {"queue": "celery"}}\n', "\x0c\n\n", "\x0c\n\n"], end="\n")
def test_a_second_run_changes_nothing_and_the_result_parses(parts: list[str], end: str) -> None:
    text = "".join(parts)
    assume(valid(text))
    first = run(text.replace("\n", end).encode())
    if first.unparsable and text.count("\x0c") > 1:
        # LibCST does not print every run of form feeds back: such a file is listed and left as it is.
        assert "byte for byte" in first.unparsable and first.after == first.before
        return
    assert not first.unparsable, first.unparsable
    compile(first.after, "app.py", "exec")
    again = run(first.after)
    assert not again.unparsable, again.unparsable
    assert again.after == first.after


@given(st.lists(st.tuples(st.sampled_from(NOISE), st.sampled_from(SHAPES)), min_size=1, max_size=4), ends)
@settings(max_examples=100)
def test_what_is_outside_the_changes_stays_byte_for_byte(parts: list[tuple[str, str]], end: str) -> None:
    text = "".join(noise + shape for noise, shape in parts)
    assume(valid(text))
    after = run(text.replace("\n", end).encode()).after
    position = 0
    for noise, _ in parts:
        kept = noise.replace("\n", end).encode()
        found = after.find(kept, position)
        assert found >= 0, kept
        position = found + len(kept)


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    try:
        outcome = run(data)
    except UnparsableError:
        return
    assert outcome.after == data
