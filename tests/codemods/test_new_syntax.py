"""Syntax of Python 3.12 and 3.13: followed by scope like any other, and nothing but the uses changes, byte for byte."""

from __future__ import annotations

from pathlib import Path

from corpus_project import make_project

from codemods.report import Mode
from codemods.runner import rewrite

#: What a type parameter hides is no task: those lines are the same in both.
BEFORE = """\
from legacy.actors import add_actor
type Pair[T] = tuple[T, T]
type Call[add_actor] = list[add_actor]
class Hidden[add_actor](list[add_actor]):
    def m(self, x: add_actor) -> add_actor: add_actor.send(1, 2)
def hidden[add_actor: int](x: add_actor) -> add_actor:
    add_actor.send(1, 2)
class Box[T: int, *Ts, **P]:
    def send(self, item: T) -> None: add_actor.send(1, 2)
class Default[T = int]: first = add_actor.send(1, 2).message_id
def first[T](items: list[T]) -> T:
    add_actor.send_with_options(args=(1, 2), delay=1000)
    return items[0]
a = f"{add_actor.send(1, 2).message_id!r:>{10}} {'é' "b"} {f'{add_actor.send(3, 4).message_id}'}"
b = f"{"same " + add_actor.send(1, 2).message_id} {d["k"]}"
c = f"{
    add_actor.send(1, 2).message_id  # é
}"
d = f"{f"{f"{add_actor.send(1, 2).message_id}"}"}"
try:
    add_actor.send(1, 2)
except* ValueError as add_group:
    add_actor.send(1, 2)
"""
NEW = (
    ("add_actor.send(", "add_actor.delay("),
    ("add_actor", "add"),
    (".message_id", ".id"),
    ("send_with_options(args=(1, 2), delay=1000)", "apply_async(args=(1, 2), countdown=1)"),
)


def after() -> str:
    lines: list[str] = []
    for line in BEFORE.replace("legacy.actors", "work.unified").splitlines(keepends=True):
        hides = line.startswith(("type Call", "class Hidden", "def hidden")) or "-> add_actor" in line
        hidden = hides or (bool(lines) and lines[-1].startswith("def hidden"))
        lines.append(line if hidden else renamed(line))
    return "".join(lines)


def renamed(line: str) -> str:
    for old, new in NEW:
        line = line.replace(old, new)
    return line


def test_only_the_uses_change_in_any_encoding_and_with_any_line_ends(tmp_path: Path) -> None:
    dresses = {
        "plain": lambda text: text.encode(),
        "crlf": lambda text: text.replace("\n", "\r\n").encode(),
        "mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
        "latin": lambda text: f"# -*- coding: iso-8859-15 -*-\n{text}".encode("iso-8859-15"),
        "tabs": lambda text: text.replace("    ", "\t").replace("class Box", "\x0c\nclass Box").encode(),
    }
    plan = make_project(tmp_path, {})
    for name, dress in dresses.items():
        (tmp_path / f"src/{name}.py").write_bytes(dress(BEFORE))
    report = rewrite(plan)
    assert not report.unparsable
    for name, dress in dresses.items():
        assert (tmp_path / f"src/{name}.py").read_bytes() == dress(after()), name
    assert not rewrite(plan, mode=Mode.CHECK).changed
