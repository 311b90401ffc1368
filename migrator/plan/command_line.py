"""A command line as typed in a shell, as an argument list: split, never run by a shell.

What only a shell can do is refused with what to write instead; quoting, leading ``NAME=value`` and ``exec`` are
understood. ``${NAME}`` and ``${NAME:-default}`` stay: the plan fills them in.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from migrator.plan.toml_table import REFERENCE

_OPERATORS = frozenset("();<>|&")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_VARIABLE = re.compile(r"\$(?P<name>[A-Za-z_][A-Za-z0-9_]*)")
#: How a line says in which folder it runs.
CHANGE = re.compile(r"^\s*cd\s+(?P<folder>\S+)\s*&&\s*")
#: Programs that would run a line with a shell after all.
SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellLine:
    """What a line says."""

    words: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    #: Why it can't be split, and what to write instead; both empty if it can.
    problem: str = ""
    hint: str = ""


def split_line(text: str) -> ShellLine:
    """Return a line as words and environment, or why only a shell understands it."""
    change = CHANGE.match(text)
    if change is not None:
        hint = f"write `directory = {change['folder']!r}`, and the rest here"
        return ShellLine(problem="changes the folder", hint=hint)
    references = [found[0] for found in REFERENCE.finditer(text)]
    # A character that no line has stands for each reference, whose default may hold anything.
    plain = REFERENCE.sub("\x00", text)
    if "`" in plain or "$(" in plain:
        return ShellLine(problem="runs a command inside", hint="write its result, or a ${NAME} of the environment")
    variable = _VARIABLE.search(plain)
    if variable is not None:
        hint = f"write ${{{variable['name']}}} or ${{{variable['name']}:-default}}"
        return ShellLine(problem=f"uses ${variable['name']}", hint=hint)
    try:
        lexer = shlex.shlex(plain, posix=True, punctuation_chars=True)
        lexer.whitespace_split, lexer.commenters = True, ""
        words = list(lexer)
    except ValueError as error:
        return ShellLine(problem=f"can't be split ({error})", hint="close the quotes")
    operator = next((word for word in words if word and set(word) <= _OPERATORS), None)
    if operator is not None:
        hint = "one process each; output goes to a log by itself, and the tool starts things in the background"
        return ShellLine(problem=f"uses {operator!r}, which only a shell understands", hint=hint)
    left = iter(references)
    return _parted([re.sub("\x00", lambda _: next(left), word) for word in words])


def _parted(words: list[str]) -> ShellLine:
    environment = []
    while words and _ASSIGNMENT.match(words[0]):
        name, _, value = words.pop(0).partition("=")
        environment.append((name, value))
    if words and words[0] == "exec":
        words.pop(0)
    for word in words:
        plain = REFERENCE.sub("", word)
        if plain.startswith("~") or any(sign in plain for sign in "*?"):
            return ShellLine(problem=f"has {word!r}, which only a shell expands", hint="write the path out")
    if not words:
        return ShellLine(problem="names no command")
    return ShellLine(words=tuple(words), environment=tuple(environment))
