"""Everything that a draft asks the source of a project besides its tasks and schedules."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from migrator.inventory.callables import loading
from migrator.inventory.facts.brokers import SourceFacts
from migrator.inventory.module_facts import ModuleFacts, read_module
from migrator.inventory.source_files import python_files
from migrator.inventory.static_values import StaticValues

_WORTH = re.compile(rb"[Bb]roker|BROKER|Celery\(|celeryconfig|\.conf\b")
_TESTS = frozenset({"tests", "test", "testing"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectFacts:
    """What reads the source."""

    values: StaticValues
    brokers: SourceFacts
    modules: tuple[ModuleFacts, ...]
    #: What Dramatiq's middleware does to every actor; None if that isn't known, or it does nothing.
    max_retries: int | None = None
    max_age_ms: int | None = None


def read_facts(root: Path, settings: Sequence[str]) -> ProjectFacts:
    """Return what reads the files below an import root.

    Args:
        root: The import root.
        settings: Dotted names that Django's settings may have.
    """
    modules: dict[str, ModuleFacts] = {}
    for file in python_files(root):
        parts = file.relative_to(root).parts
        if _TESTS & set(parts[:-1]) or parts[-1].startswith(("test_", "conftest")) or parts[-1] == "tests.py":
            continue
        source = file.read_bytes()
        if _WORTH.search(source):
            try:
                facts = read_module(root, file, source)
            except (SyntaxError, ValueError, RecursionError, tokenize.TokenError):
                continue
            modules[facts.name] = facts
    values = StaticValues(loading(root, modules), settings)
    return ProjectFacts(
        values=values, brokers=SourceFacts(tuple(modules.values()), values), modules=tuple(modules.values())
    )
