"""Deployment files and documentation: legacy names in text that no parser knows.

Named always; with ``text`` the sure ones are rewritten: the application of a ``celery -A`` command and registered task
names. A Dramatiq worker's command has no successor of its own, because the unified worker takes its place.
Data (JSON, TOML) is not text in this sense: plans, cases and waivers name legacy tasks on purpose.
Source: https://docs.celeryq.dev/en/stable/reference/cli.html (``-A``), ``dramatiq/cli.py``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from codemods.engine.outcome import Leftover, Outcome
from codemods.engine.retired_names import bounded, retired_names
from codemods.engine.targets import PlanIndex
from migrator.message import System
from migrator.plan import Plan
from migrator.source_tree import files

_NAMES = frozenset({"Procfile", "Makefile", "Dockerfile", "Jenkinsfile", "crontab"})
_SUFFIXES = frozenset(
    {".conf", ".service", ".timer", ".yml", ".yaml", ".sh", ".bash", ".md", ".rst", ".txt", ".ini", ".cfg", ".env"}
    | {".j2", ".tf", ".ps1", ".bat", ".mk"}
)
_LIMIT_BYTES = 1 << 20
_CI_FOLDERS = (".github", ".circleci", ".gitlab")


def text_outcomes(plan: Plan, index: PlanIndex, *, write: bool) -> Iterator[Outcome]:
    """Yield the text files that name something of the legacy side."""
    pattern = retired_names(index)
    if pattern is None:
        return
    for file in _text_files(plan):
        before = file.read_bytes()
        if not pattern.search(before) or b"\0" in before:
            continue
        after, edits = _rewrite(index, before) if write else (before, 0)
        shown = str(file.relative_to(plan.folder))
        yield Outcome(
            file=file,
            shown=shown,
            before=before,
            after=after,
            edits={"text": edits} if edits else {},
            leftovers=tuple(_left(pattern, before, after)),
        )


def _text_files(plan: Plan) -> Iterator[Path]:
    folders = [plan.folder, *(plan.folder / name for name in _CI_FOLDERS if (plan.folder / name).is_dir())]
    for folder in folders:
        for file in files(folder):
            known = file.name in _NAMES or file.suffix in _SUFFIXES or file.name.startswith(("Dockerfile", ".env"))
            if (
                known
                and file != plan.file.resolve()
                and file.stat().st_size <= _LIMIT_BYTES
                and os.access(file, os.R_OK)
            ):
                yield file


def _rewrite(index: PlanIndex, before: bytes) -> tuple[bytes, int]:
    text, count = before, 0
    package = index.unified_application.removesuffix(".celery.app")
    for module in {application.rpartition(".")[0] for application in index.applications} & index.retired_modules:
        if package:
            command = re.compile(
                rb"(\bcelery\b[^\n]*?\s(?:-A|--app)[ =\"',]+)" + re.escape(module.encode()) + rb"(?![\w.])"
            )
            text, made = command.subn(rb"\g<1>" + package.encode(), text)
            count += made
    for target in index.targets.values():
        if (
            target.system is System.CELERY
            and "." in target.name
            and not target.retired
            and target.name != target.unified
        ):
            text, made = bounded({target.name}).subn(target.unified.encode(), text)
            count += made
    return text, count


def _left(pattern: re.Pattern[bytes], before: bytes, after: bytes) -> Iterator[Leftover]:
    for number, line in enumerate(after.split(b"\n"), 1):
        if pattern.search(line):
            shown = line.decode("utf-8", errors="replace").strip()
            worker = re.search(r"\bdramatiq\b", shown) and not shown.startswith("#")
            detail = "a Dramatiq worker; the unified worker takes its place" if worker else ""
            yield Leftover(code="TEXT-NAME", line=number, found=shown[:200], detail=detail)
