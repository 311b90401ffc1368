"""The commands of a line as typed in a shell, or of an argument list that hands one to a shell. Nothing is run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from migrator.inventory.deployment.command_words import Started, UnknownCommandError, read_command, unwrapped
from migrator.plan.command_line import SHELLS

_OPERATORS = frozenset("();|&")
_REDIRECTIONS = frozenset("<>")
#: What has another meaning inside: references, and the output of commands.
_KEPT = re.compile(r"\$\{[^}]*\}|\$\([^()]*\)|`[^`]*`")
_KEYWORDS = frozenset({"then", "else", "do", "if", "elif", "while", "until", "!", "{", "}"})
_DEPTH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """One command of a line."""

    #: None if it can't be read; then there is a reason.
    started: Started | None
    #: Folder that it changes to before; empty if it doesn't.
    directory: str = ""
    why: str = ""


def in_text(text: str, depth: int = 0) -> Iterator[CommandLine]:
    """Yield what a line starts, and what can't be read of it."""
    kept = [found[0] for found in _KEPT.finditer(text)]
    # A character that no line has stands for each reference, so that it is no operator.
    lexer = shlex.shlex(_KEPT.sub("\x00", text), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        tokens = list(lexer)
    except ValueError:
        return
    left = iter(kept)
    directory, exported = "", []
    for part in _parts([re.sub("\x00", lambda _: next(left), token) for token in tokens]):
        if part[0] == "cd" and len(part) == 2:
            directory = part[1]
        elif part[0] == "export":
            exported += [word for word in part[1:] if "=" in word]
        else:
            yield from in_words([*exported, *part], directory, depth)


def in_words(words: Sequence[str], directory: str = "", depth: int = 0) -> Iterator[CommandLine]:
    """Yield what an argument list starts."""
    environment: dict[str, str] = {}
    head = unwrapped(list(words), environment)
    if head and PurePosixPath(head[0]).name in SHELLS and depth < _DEPTH:
        flags = [word for word in head[1:] if word.startswith("-")]
        if flags and flags[-1].endswith("c") and len(head) > len(flags) + 1:
            given = " ".join(f"export {name}={shlex.quote(value)};" for name, value in environment.items())
            for line in in_text(f"{given} {head[len(flags) + 1]}", depth + 1):
                yield line if line.directory else CommandLine(started=line.started, directory=directory, why=line.why)
            return
        words = head[len(flags) + 1 :]
    try:
        started = read_command(words)
    except UnknownCommandError as error:
        yield CommandLine(started=None, directory=directory, why=str(error))
        return
    if started is not None:
        yield CommandLine(started=started, directory=directory)


def _parts(tokens: Sequence[str]) -> Iterator[list[str]]:
    """Yield the words of each command between operators, without redirections and keywords."""
    part: list[str] = []
    skip = False
    for token in [*tokens, ";"]:
        if token and set(token) <= _OPERATORS:
            if part:
                yield part
            part, skip = [], False
        elif token and set(token) <= _OPERATORS | _REDIRECTIONS:
            part = part[:-1] if part and part[-1].isdigit() else part
            skip = True
        elif skip:
            skip = False
        elif part or token not in _KEYWORDS:
            part.append(token)
