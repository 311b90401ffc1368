"""A file that a project's formatter would leave as it is stays that way: sorted imports, line lengths, commas.

Only where the project configures one: Ruff, Black or isort. Ruff formats as Black does, and sorts imports as isort with
its profile. A file that it would have changed before is left as the rewrites made it.
Source: https://docs.astral.sh/ruff/formatter/black/, https://docs.astral.sh/ruff/faq/ (isort).
"""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from configparser import ConfigParser, Error
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from codemods.outcome import FileOutcome
from migrator.plan.model import Plan

_TIMEOUT_S = 60
_AT_ONCE = 4
_OWN_FILES = ("ruff.toml", ".ruff.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Formatter:
    """What a project configures; ``options`` are what Ruff does not read by itself."""

    ruff: str
    options: tuple[str, ...] = ()


def keep_formatted(plan: Plan, outcomes: Iterable[FileOutcome]) -> list[FileOutcome]:
    """Return the outcomes, those of formatted files formatted as before."""
    found = list(outcomes)
    if not any(outcome.before != outcome.after for outcome in found) or (formatter := configured(plan)) is None:
        return found
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(partial(_formatted, formatter), found))


def configured(plan: Plan) -> Formatter | None:
    """Return what the project configures, from the import root upwards; None for no formatter."""
    from ruff import find_ruff_bin

    for folder in (plan.source_root, *plan.source_root.parents):
        if not folder.is_relative_to(plan.folder):
            break
        if any((folder / name).exists() for name in _OWN_FILES):
            return Formatter(ruff=find_ruff_bin())
        tools = _pyproject(folder / "pyproject.toml")
        if "ruff" in tools:
            return Formatter(ruff=find_ruff_bin())
        if "black" in tools or "isort" in tools:
            options = _options(tools.get("black", {}), tools.get("isort", {}))
            return Formatter(ruff=find_ruff_bin(), options=options)
        if isort := _isort(folder):
            return Formatter(ruff=find_ruff_bin(), options=_options({}, isort))
    return None


def _pyproject(file: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {})
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _isort(folder: Path) -> dict[str, str]:
    """Return isort's options in an ini file."""
    parser = ConfigParser(interpolation=None)
    try:
        parser.read([folder / ".isort.cfg", folder / "setup.cfg", folder / "tox.ini"], encoding="utf-8")
    except (Error, UnicodeDecodeError):
        return {}
    sections = [name for name in ("settings", "isort", "tool:isort") if parser.has_section(name)]
    return dict(parser[sections[0]]) if sections else {}


def _options(black: dict[str, Any], isort: dict[str, Any]) -> tuple[str, ...]:
    length = black.get("line-length") or isort.get("line_length") or 88
    options = [f"line-length={length}"]
    if black.get("skip-string-normalization"):
        options.append("format.quote-style='preserve'")
    if black.get("skip-magic-trailing-comma"):
        options.append("format.skip-magic-trailing-comma=true")
    return tuple(word for option in options for word in ("--config", option))


def _formatted(formatter: Formatter, outcome: FileOutcome) -> FileOutcome:
    if outcome.before == outcome.after:
        return outcome
    after = outcome.after
    for command in (("check", "--select", "I", "--fix-only", "--quiet"), ("format", "--quiet")):
        if _run(formatter, command, outcome.file, outcome.before) == outcome.before:
            after = _run(formatter, command, outcome.file, after) or after
    return replace(outcome, after=after)


def _run(formatter: Formatter, command: tuple[str, ...], file: Path, data: bytes) -> bytes:
    """Return what Ruff makes of a file's content; nothing if it can't."""
    words = [formatter.ruff, *command, *formatter.options, "--no-cache", "--force-exclude"]
    try:
        done = subprocess.run(
            [*words, "--stdin-filename", str(file), "-"],
            input=data,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
            cwd=file.parent,
        )
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 else b""
