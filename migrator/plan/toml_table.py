"""One table of a TOML document, read key by key; problems are collected, never raised."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any, TypeVar

from migrator.errors import UsageError
from migrator.plan.toml_lines import line_of
from migrator.redaction import redact_url
from migrator.wire.broker_url import read_broker_url
from migrator.wire.message import System

E = TypeVar("E", bound=StrEnum)

_MISSING: Any = object()
#: How a text refers to the environment.
REFERENCE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")
#: Keys that plans of earlier versions have, and what they are called now.
RENAMED = {"alias_net": "legacy_aliases", "alias_quiet_s": "legacy_aliases_quiet_s"}
#: As something is imported, or as its file is called.
_DOTTED = re.compile(r"[^\s:/\\.]+(?:\.[^\s:/\\.]+)*")


def broker_url_problem(text: str, system: System) -> str:
    """Return why the workers of a system can't have a URL; empty if they can, or the environment decides."""
    plain = REFERENCE.sub(lambda match: match["default"] or "", text)
    if not plain.strip() or plain[0] in "/:":
        return ""
    try:
        known = read_broker_url(plain, system).kind is not None
    except UsageError as error:
        return f"{error.what}: {error.remedy}"
    return "" if known else "is no URL of a Redis or RabbitMQ server"


@dataclass(slots=True)
class Problems:
    """Sentences, line and key path first."""

    #: Line of each path.
    lines: dict[str, int] = field(default_factory=dict)
    #: Paths of values that are still to be decided: nothing else is said about them.
    undecided: frozenset[str] = frozenset()
    _found: dict[str, int] = field(default_factory=dict)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The problems, in the order of their lines."""
        return tuple(sorted(self._found, key=lambda sentence: self._found[sentence]))

    def add(self, path: str, what: str, hint: str = "") -> None:
        """Add one problem unless it is there already."""
        if path not in self.undecided:
            self.tell(path, what + (f" ({hint})" if hint else ""))

    def tell(self, path: str, what: str) -> None:
        """Add a problem, also of a value that is still to be decided."""
        line = line_of(self.lines, path)
        self._found.setdefault(f"line {line}: {path}: {what}" if line else f"{path}: {what}", line or 0)


class TomlTable:
    """A table at ``path``; reading a key marks it as known, :meth:`close` reports the others."""

    def __init__(self, data: Any, path: str, problems: Problems) -> None:
        self.path = path
        self.problems = problems
        self.data: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
        self._known: set[str] = set()
        if not isinstance(data, Mapping):
            problems.add(path, "needs a table", f"found {type(data).__name__}")

    def problem(self, key: str, what: str, hint: str = "") -> None:
        """Report something about ``key`` (or about the table itself if empty)."""
        self.problems.add(".".join(part for part in (self.path, key) if part), what, hint)

    def take(self, key: str, default: Any = _MISSING) -> Any:
        """Return the raw value; a missing key without a default is a problem."""
        self._known.add(key)
        if key in self.data:
            return self.data[key]
        if default is _MISSING:
            self.problem(key, "is missing")
            return None
        return default

    def text(self, key: str, default: str = _MISSING) -> str:
        """Return a string; required ones may not be empty."""
        value = self.take(key, default)
        if value is None:
            return ""
        if not isinstance(value, str) or (default is _MISSING and not value.strip()):
            self.problem(key, "needs a non-empty string", f"found {value!r}")
            return ""
        return value

    def relative_path(self, key: str, default: str = _MISSING) -> str:
        """Return a path that stays inside the plan's folder."""
        value = self.text(key, default)
        self._inside(key, value)
        return value

    def relative_paths(self, key: str) -> tuple[str, ...]:
        """Return paths that stay inside the plan's folder; none if absent."""
        values = self.texts(key, default=())
        for index, value in enumerate(values):
            self._inside(f"{key}[{index}]", value)
        return values

    def _inside(self, key: str, value: str) -> None:
        if PurePosixPath(value).is_absolute() or ".." in PurePosixPath(value).parts:
            self.problem(key, "needs a path inside the plan's folder", f"found {value!r}")

    def dotted(self, key: str, default: str = _MISSING) -> str:
        """Return the dotted name of a module or of something in one."""
        value = self.text(key, default)
        self._importable(key, value)
        return value

    def dotted_names(self, key: str) -> tuple[str, ...]:
        """Return dotted names; none if absent."""
        values = self.texts(key, default=())
        for index, value in enumerate(values):
            self._importable(f"{key}[{index}]", value)
        return values

    def _importable(self, key: str, value: str) -> None:
        if value and not _DOTTED.fullmatch(value):
            self.problem(key, "needs a dotted name, as it is imported", f"found {value!r}")

    def broker_url(self, key: str, system: System) -> str:
        """Return the URL of a broker, which may hold ``${NAME:-default}``."""
        value = self.text(key)
        problem = broker_url_problem(value, system)
        if problem:
            self.problem(key, problem, f"found {redact_url(value)!r}")
        return value

    def words(self, key: str) -> tuple[str, ...]:
        """Return an argument list, or those of a string, as a shell splits it; none if absent."""
        value = self.data.get(key)
        if not isinstance(value, str):
            return self.texts(key, default=())
        try:
            words = tuple(shlex.split(self.text(key)))
        except ValueError as error:
            self.problem(key, "can't be split into arguments", str(error))
            return ()
        return words

    def texts(self, key: str, default: tuple[str, ...] = _MISSING) -> tuple[str, ...]:
        """Return a list of strings."""
        value = self.take(key, default)
        if value is None or value is default:
            return tuple(value or ())
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            self.problem(key, "needs a list of non-empty strings", f"found {value!r}")
            return ()
        if default is _MISSING and not value:
            self.problem(key, "may not be empty")
        return tuple(value)

    def parameters(self) -> tuple[str, ...]:
        """Return the names of parameters; ``*args`` and ``**kwargs`` stand for further arguments."""
        names = self.texts("parameters", default=())
        for name in names:
            if name.startswith("*") and name not in ("*args", "**kwargs"):
                self.problem("parameters", f"{name!r} is no parameter", "further ones are *args and **kwargs")
        return names

    def integers(self, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """Return a list of whole numbers."""
        value = self.take(key, default)
        if not isinstance(value, (list, tuple)) or not all(type(item) is int for item in value):
            self.problem(key, "needs a list of whole numbers", f"found {value!r}")
            return default
        return tuple(value)

    def integer(self, key: str, default: int | None) -> int | None:
        """Return a whole number that is not negative, or the default."""
        value = self.take(key, default)
        if value is not None and (type(value) is not int or value < 0):
            self.problem(key, "needs a whole number of at least 0", f"found {value!r}")
            return default
        return value

    def number(self, key: str, default: float | None) -> float | None:
        """Return a number above 0, or the default."""
        value = self.take(key, default)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0):
            self.problem(key, "needs a number above 0", f"found {value!r}")
            return default
        return value

    def flag(self, key: str) -> bool:
        """Return true or false; false if absent."""
        value = self.take(key, default=False)
        if not isinstance(value, bool):
            self.problem(key, "needs true or false", f"found {value!r}")
        return value is True

    def choice(self, key: str, kind: type[E], default: E | None = None) -> E:
        """Return a member of ``kind``; the first one stands in after a problem."""
        value = self.take(key, _MISSING if default is None else default)
        options = [member.value for member in kind]
        if value in options:
            return kind(value)
        if value is not None:
            close = difflib.get_close_matches(str(value), options, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "one of " + ", ".join(options)
            self.problem(key, f"{value!r} is not known", hint)
        return next(iter(kind))

    def mapping(self, key: str) -> Mapping[str, Any]:
        """Return a table of free keys; empty if absent."""
        value = self.take(key, {})
        if not isinstance(value, Mapping):
            self.problem(key, "needs a table", f"found {value!r}")
            return {}
        return value

    def table(self, key: str) -> TomlTable:
        """Return a child table; a missing one is a problem and reads as empty."""
        value = self.take(key)
        path = ".".join(part for part in (self.path, key) if part)
        return TomlTable({} if value is None else value, path, self.problems)

    def tables(self, key: str) -> list[TomlTable]:
        """Return the tables of an array; empty if absent."""
        value = self.take(key, [])
        path = ".".join(part for part in (self.path, key) if part)
        if not isinstance(value, list):
            self.problem(key, "needs an array of tables", f"found {type(value).__name__}")
            return []
        return [TomlTable(item, f"{path}[{index}]", self.problems) for index, item in enumerate(value)]

    def close(self) -> None:
        """Report every key that nobody read, with the nearest known one."""
        for key in self.data:
            if key in RENAMED and RENAMED[key] in self._known:
                self.problem(key, "has another name in this version", f"write {RENAMED[key]}")
            elif key not in self._known:
                close = difflib.get_close_matches(key, sorted(self._known), n=1)
                self.problem(key, "is not a known key", f"did you mean {close[0]!r}?" if close else "")
