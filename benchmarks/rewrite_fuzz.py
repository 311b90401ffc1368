"""Run every rewrite over other people's code, with legacy names put into it at random places.

The files are those of the largest installed packages. Into each, uses of the corpus' actors and tasks are put between
its statements, in its own indentation, line ends and encoding. Nothing may crash; a file is rewritten or listed; what
was rewritten parses, a second run changes nothing, and every line that was there before stays byte for byte. Files are
also saved in other encodings, with a byte order mark, other line ends, tabs and form feeds, several at once, and
every fifth use is written in the syntax of Python 3.12 and 3.13.
Run: ``python benchmarks/rewrite_fuzz.py [--seed 1] [--files 3000] [--packages django celery ...]``.
"""

from __future__ import annotations

import argparse
import ast
import codecs
import contextlib
import io
import random
import re
import sys
import sysconfig
import tempfile
import time
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PACKAGES = (
    "django",
    "celery",
    "kombu",
    "dramatiq",
    "numpy",
    "pytest",
    "_pytest",
    "mypy",
    "hypothesis",
    "libcst",
    "rich",
)
IMPORTS = (
    "from legacy.actors import add_actor, quote_actor, news_actor, old_actor",
    "from legacy.jobs import add_task, quote_task, sweep_task",
    "import legacy.actors, legacy.jobs",
)
#: Statements that stand anywhere; each says what it is for in its names.
USES = (
    "add_actor.send(1, 2)",
    "quote_actor.send('AAPL', note='x')",
    "news_actor.send_with_options(args=('q',), kwargs={'count': 3}, delay=1000 * 60)",
    "legacy.actors.add_actor.send_with_options(args=(1, 2), delay=5000)",
    "old_actor.send()",
    "add_task.delay(1, y=2)",
    "quote_task.apply_async(args=['AAPL'], kwargs={'limit': 3}, countdown=5)",
    "legacy.jobs.sweep_task.delay(30)",
    "probe = [add_actor, quote_actor]",
    "result = add_actor.send(1, 2); ident = result.message_id",
    "pipe = group([add_actor.message(1, 2), add_actor.message(3, 4)]).run()",
    "getattr(legacy.actors, 'add_actor').send(1, 2)",
    "app.send_task('legacy.jobs.quote_task', args=['AAPL'])",
    "text = f'{add_actor.send(1, 2)} legacy.jobs.add_task'",
    "_ = (lambda self=add_actor: self.send(1, 2))()",
    "if add_actor.send(1, 2): add_task.delay(1, 2)",
)
#: As long as the interpreter that runs this is older, only LibCST reads these.
NEW_USES = (
    "type Alias[T] = list[T]",
    "type Alias[add_actor] = dict[str, add_actor]",
    "def typed[T, *Ts, **P](item: T) -> T: return add_actor.send(1, item)",
    "class Typed[add_actor = int](list[add_actor]): pass",
    """text = f"{add_actor.send(1, 2)!r:>{10}} {d["k"]} {f"{f"{add_task.delay(1, 2)}"}"}" """,
)
#: Encodings by their cookie, with a text that only they write in this way.
COOKIES = {"latin-1": "café", "iso-8859-15": "€ café", "cp1252": "“€”", "koi8-r": "чай", "utf-8": "☕ чай"}
ENCODINGS = ("plain", "plain", "mark", *COOKIES)
LAYOUTS = ("crlf", "tabs", "feeds", "trailing", "no end")


@dataclass(slots=True)
class Tally:
    """What came of the files."""

    files: int = 0
    rewritten: int = 0
    listed: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def dressed(data: bytes, chance: random.Random) -> bytes:
    """Return a file as several other editors might have saved it; as it is where it would not be the same program then.

    First the encoding, then up to three of the others, so that a file may have tabs, form feeds and CRLF in Latin-1.
    """
    made = data
    for how in [chance.choice(ENCODINGS), *chance.sample(LAYOUTS, chance.randint(0, 3))]:
        changed = _changed(made, how)
        try:
            ast.parse(changed)
        except (SyntaxError, ValueError, RecursionError):
            continue
        made = changed
    return made


def _changed(data: bytes, how: str) -> bytes:
    plain = b"coding" not in data[:200] and not data.startswith(codecs.BOM_UTF8)
    if how == "mark" and plain:
        return codecs.BOM_UTF8 + data
    if how in COOKIES and plain:
        with contextlib.suppress(UnicodeError):
            extra = "# " + COOKIES[how]
            return f"# -*- coding: {how} -*-\n{data.decode('utf-8')}\n{extra}\n".encode(how)
    if how == "crlf" and b"\r" not in data:
        return data.replace(b"\n", b"\r\n")
    if how == "tabs":
        return re.sub(rb"^(?: {4})+", lambda match: b"\t" * (len(match.group()) // 4), data, flags=re.MULTILINE)
    if how == "feeds":
        return re.sub(rb"^(?=class |def )", b"\x0c\n", data, count=2, flags=re.MULTILINE)
    if how == "trailing":
        return re.sub(rb":(\r?)\n", rb":  \t\1\n", data, count=5)
    return data.rstrip(b"\r\n") if how == "no end" else data


def injected(data: bytes, chance: random.Random) -> bytes | None:
    """Return a file with imports and uses put between its statements; None if it is no Python of this version."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
        tree = ast.parse(data)
    except (SyntaxError, ValueError, LookupError, RecursionError):
        return None
    if "\r" in text.replace("\r\n", ""):
        return None
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    lines = [f"{line}\n" for line in text.removeprefix(mark).split("\n")]
    lines[-1] = lines[-1].removesuffix("\n")
    end = "\r\n" if "\r\n" in text else "\n"
    places = [node for node in ast.walk(tree) if isinstance(node, ast.stmt) and _starts_its_line(lines, node)]
    top = [n for n in tree.body[1:] if n in places and not (isinstance(n, ast.ImportFrom) and n.module == "__future__")]
    if not top:
        return None
    chosen = {id(node): node for node in chance.sample(places, min(len(places), chance.randint(1, 6)))}
    added: dict[int, list[str]] = {}
    for node in chosen.values():
        line = _first_line(node)
        if line <= _first_line(top[0]):
            continue
        indent = lines[line - 1][: len(lines[line - 1]) - len(lines[line - 1].lstrip(" \t"))]
        added.setdefault(line, []).append(f"{indent}{chance.choice(USES if chance.random() < 0.8 else NEW_USES)}{end}")
    first = added.setdefault(_first_line(top[0]), [])
    first[:0] = [f"{line}{end}" for line in IMPORTS]
    parts = [part for number, line in enumerate(lines, 1) for part in (*added.get(number, ()), line)]
    return (mark + "".join(parts)).encode(encoding)


def _first_line(node: ast.stmt) -> int:
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])


def _starts_its_line(lines: list[str], node: ast.stmt) -> bool:
    line = lines[_first_line(node) - 1]
    column = len(line) - len(line.lstrip(" \t"))
    return node.col_offset == len(line[:column].encode()) and not line.lstrip().startswith(("elif", "else"))


def fault(original: bytes, outcome: object, again: object) -> str:
    """Return what is wrong with a rewritten file; empty if nothing is."""
    after: bytes = outcome.after  # type: ignore[attr-defined]
    from codemods.syntax.source import UnparsableError, read_source

    try:
        compile(after, "after.py", "exec", dont_inherit=True, flags=ast.PyCF_ONLY_AST)
    except (SyntaxError, ValueError) as error:
        try:
            read_source(Path("after.py"), after)  # newer syntax than this interpreter's
        except UnparsableError:
            return f"does not parse: {error}"
    if again.after != after:  # type: ignore[attr-defined]
        return "a second run changes it"
    found = iter(after.split(b"\n"))
    for line in original.split(b"\n"):
        if not any(line == candidate for candidate in found):
            return f"lost or changed: {line[:80]!r}"
    return ""


def campaign(files: Iterator[Path], *, seed: int, budget_s: float = 3600.0) -> Tally:
    """Put names into files, rewrite them, and count what came of it."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "codemods"))
    from corpus_project import make_project

    from codemods.pipeline.file import rewrite_source
    from codemods.pipeline.project import build_index
    from codemods.syntax.source import UnparsableError, read_source

    tally, end = Tally(), time.monotonic() + budget_s
    with tempfile.TemporaryDirectory() as name:
        index = build_index(make_project(Path(name), {}))
        address = index.root / "shop" / "app.py"
        for file in files:
            if time.monotonic() > end:
                break
            chance = random.Random(f"{seed}{file.name}")
            original = dressed(file.read_bytes(), chance)
            before = injected(original, chance)
            if before is None:
                continue
            tally.files += 1
            try:
                outcome = rewrite_source(read_source(address, before), index, "app.py")
            except UnparsableError as error:
                tally.refused[str(error)[:60]] = tally.refused.get(str(error)[:60], 0) + 1
                continue
            if outcome.unparsable:
                tally.refused[outcome.unparsable[:60]] = tally.refused.get(outcome.unparsable[:60], 0) + 1
                if "please report" in outcome.unparsable or "would not parse" in outcome.unparsable:
                    tally.faults.append(f"{file}: {outcome.unparsable}")
                continue
            tally.rewritten += outcome.after != before
            tally.listed += bool(outcome.leftovers)
            again = rewrite_source(read_source(address, outcome.after), index, "app.py")
            why = fault(original, outcome, again)
            if why:
                tally.faults.append(f"{file}: {why}")
    return tally


def installed(packages: tuple[str, ...], most: int, seed: int) -> Iterator[Path]:
    """Yield Python files of installed packages, in an order that the seed gives."""
    root = Path(sysconfig.get_path("purelib"))
    found = sorted(file for package in packages for file in (root / package).rglob("*.py"))
    random.Random(seed).shuffle(found)
    yield from found[:most]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", type=int, default=3000)
    parser.add_argument("--packages", nargs="*", default=PACKAGES)
    options = parser.parse_args()
    files = installed(tuple(options.packages), options.files, options.seed)
    tally = campaign(files, seed=options.seed)
    print(f"{tally.files} files, {tally.rewritten} rewritten, {tally.listed} with places listed")
    for why, count in sorted(tally.refused.items(), key=lambda item: -item[1]):
        print(f"  {count:5d} listed as a whole: {why}")
    for line in tally.faults[:40]:
        print(f"  FAULT {line}")
    print(f"{len(tally.faults)} faults")
    sys.exit(1 if tally.faults else 0)


if __name__ == "__main__":
    main()
