"""Text that names Dramatiq, and is wrong when that is gone: dependencies, commands, rows of its Django apps.

Named whatever the plan retires; never rewritten: all of it is needed until the migration is completed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from codemods.files.text_files import read_text, text_files
from codemods.outcome import FileOutcome, Leftover
from codemods.plan.plan_index import PlanIndex
from codemods.plan.sister_packages import LEGACY
from migrator.inventory.source_files import SourceFiles
from migrator.plan.model import Plan
from migrator.wire.message import System

_DEPENDENCIES = re.compile(
    r"(?:requirements|constraints)[^/]*\.txt|[^/]*\.in|Pipfile|pyproject\.toml|environment\.ya?ml"
)
_PROSE = frozenset({".md", ".rst", ".txt"})
_COMMENT = re.compile(rb"^\s*(?:#|;|//)")


def package_outcomes(
    plan: Plan, index: PlanIndex, sources: SourceFiles, listed: Collection[tuple[str, int]]
) -> Iterator[FileOutcome]:
    """Yield the text files that name Dramatiq or a package that needs it.

    Args:
        plan: Its folder is the tree.
        index: The plan's.
        sources: The tree.
        listed: File and line of what other findings name already.
    """
    endpoint = plan.endpoint(System.DRAMATIQ)
    if endpoint is None or index.keeps(System.DRAMATIQ):
        return
    # Where the plan retires files, their commands are named or rewritten by :mod:`codemods.files.text_files`.
    modules = [] if index.retired_modules else [module.encode() for module in endpoint.modules]
    names = "|".join(sorted(index.needing_dramatiq))
    word = re.compile(rf"[\w.-]*{LEGACY}[\w-]*|\b(?:{names})\b".encode())
    for file in text_files(plan, sources, also=_DEPENDENCIES):
        is_dependencies = _DEPENDENCIES.fullmatch(file.name) or file.parent.name == "requirements"
        if file.suffix in _PROSE and not is_dependencies:
            continue
        shown, left = str(file.relative_to(plan.folder)), []
        for number, line in enumerate(read_text(file).split(b"\n"), 1):
            found = None if _COMMENT.match(line) else word.search(line)
            if found is None or not (is_dependencies or _concerns(found.group(), line, file.suffix, modules)):
                continue
            if (shown, number) not in listed:
                text = line.decode("utf-8", errors="replace").strip()[:200]
                left.append(Leftover(code="DRAMATIQ-TEXT", line=number, found=text, detail=found.group().decode()))
        if left:
            yield FileOutcome(file=file, shown=shown, leftovers=tuple(left))


def _concerns(word: bytes, line: bytes, suffix: str, modules: list[bytes]) -> bool:
    """True for rows of a Django app that goes, and for commands that name a module of the plan."""
    return b"_" in word if suffix == ".json" else any(module in line for module in modules)
