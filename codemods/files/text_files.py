"""Deployment files and documentation: legacy names in text for which there is no parser.

Named always; with ``text`` the sure ones are rewritten: commands (:mod:`codemods.files.text_commands`) and registered
task names, where no arguments stand beside them that the plan changes. Everything else stays byte for byte.
Data (JSON, TOML) is not text in this sense: plans, cases and waivers name legacy tasks on purpose. Only rows of
django_celery_beat in fixtures are named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from codemods.files.text_commands import Rewritten, plan_commands, rewrite_commands, starts_celery_worker
from codemods.outcome import FileOutcome, Leftover
from codemods.plan.plan_index import PlanIndex
from codemods.plan.retired_names import retired_names
from migrator.inventory.source_files import SourceFiles
from migrator.plan.model import Plan
from migrator.wire.message import System

_NAMES = frozenset({"Procfile", "Makefile", "Dockerfile", "Jenkinsfile", "crontab"})
_SUFFIXES = frozenset(
    {".conf", ".service", ".timer", ".yml", ".yaml", ".sh", ".bash", ".md", ".rst", ".txt", ".ini", ".cfg", ".env"}
    | {".j2", ".tf", ".ps1", ".bat", ".mk"}
)
_DATA = frozenset({".json"})
#: Beside a task's name: its arguments.
_ARGUMENTS = re.compile(r"[\[{(=]|\s-[ak]\b|\b(?:kw)?args\b")
_LIMIT_BYTES = 1 << 20
_CI_FOLDERS = (".github", ".circleci", ".gitlab")


def text_outcomes(plan: Plan, index: PlanIndex, sources: SourceFiles, *, write: bool) -> Iterator[FileOutcome]:
    """Yield the text files that hold a legacy name, and data files with rows of beat that do."""
    named = retired_names(index)
    words = [named.pattern] if named is not None else []
    if any("." in target.name for target in index.targets.values()) and not index.keeps(System.DRAMATIQ):
        words.append(rb"\brundramatiq\b")
    if not words:
        return
    pattern = re.compile(b"|".join(words))
    commands = plan_commands(plan, index.applications, index.unified_application.removesuffix(".celery.app"))
    found = [
        (file, before) for file in text_files(plan, sources) if (before := read_text(file)) and pattern.search(before)
    ]
    working = {_deployment(file) for file, before in found if starts_celery_worker(commands, _text(before))}
    for file, before in found:
        shown = str(file.relative_to(plan.folder))
        if file.suffix in _DATA:
            rows = tuple(_rows(pattern, before))
            if rows:
                yield FileOutcome(file=file, shown=shown, before=before, after=before, leftovers=rows)
            continue
        # Where tasks stay, so do the workers that these commands start.
        done = (
            Rewritten(text=_text(before))
            if index.stays
            else rewrite_commands(commands, _text(before), worker_elsewhere=_deployment(file) in working)
        )
        why = {after if write else line: reason for line, after, reason in done.kept}
        text, edits = _names(index, done.text, why) if write else (_text(before), 0)
        yield FileOutcome(
            file=file,
            shown=shown,
            before=before,
            after=text.encode("utf-8", errors="surrogateescape"),
            edits={"text": edits + done.count} if write and edits + done.count else {},
            leftovers=tuple(_left(pattern, text, why)),
        )


def read_text(file: Path) -> bytes:
    """Return a file's bytes; nothing for one that is too large, unreadable or no text."""
    try:
        data = file.read_bytes() if file.stat().st_size <= _LIMIT_BYTES else b""
    except OSError:
        return b""
    return b"" if b"\0" in data else data


def _text(data: bytes) -> str:
    """Return text whose bytes come back exactly, whatever their encoding."""
    return data.decode("utf-8", errors="surrogateescape")


def _deployment(file: Path) -> Path:
    """Return what stands for the deployment that a file belongs to: its folder, where each program has a file."""
    return file.parent / f"*{file.suffix}" if file.suffix in {".service", ".conf", ".ini"} else file


def text_files(plan: Plan, sources: SourceFiles, also: re.Pattern[str] | None = None) -> Iterator[Path]:
    """Yield the text and data files of a project, and others whose names match a pattern; not the plan."""
    folders = [plan.folder, *(plan.folder / name for name in _CI_FOLDERS if (plan.folder / name).is_dir())]
    for folder in folders:
        for file in sources.files(folder):
            known = (
                file.name in _NAMES or file.suffix in _SUFFIXES | _DATA or file.name.startswith(("Dockerfile", ".env"))
            )
            known = known or (also is not None and also.fullmatch(file.name) is not None)
            if known and file != plan.file.resolve():
                yield file


def _names(index: PlanIndex, text: str, why: dict[int, str]) -> tuple[str, int]:
    """Rename registered Celery tasks; note in ``why`` the lines whose arguments the plan changes."""
    renamed = {t.name: t for t in index.targets.values() if t.system is System.CELERY and t.unified not in ("", t.name)}
    dotted = {name: target for name, target in renamed.items() if "." in name}
    if not dotted:
        return text, 0
    choice = "|".join(re.escape(name) for name in sorted(dotted, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w.])(?:{choice})(?![\w(]|\.\w)")
    count = 0
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):

        def rename(match: re.Match[str], line: str = line, number: int = number) -> str:
            target = dotted[match.group()]
            if number in why or (target.operations and _ARGUMENTS.search(line.replace(match.group(), ""))):
                why.setdefault(number, "its arguments change")
                return match.group()
            return target.unified

        after = pattern.sub(rename, line)
        count += after != line
        lines[number - 1] = after
    return "\n".join(lines), count


def _left(pattern: re.Pattern[bytes], text: str, why: dict[int, str]) -> Iterator[Leftover]:
    for number, line in enumerate(text.split("\n"), 1):
        if number in why or pattern.search(line.encode("utf-8", errors="surrogateescape")):
            shown = line.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="replace").strip()
            yield Leftover(code="TEXT-NAME", line=number, found=shown[:200], detail=why.get(number, ""))


def _rows(pattern: re.Pattern[bytes], before: bytes) -> Iterator[Leftover]:
    """Fixtures with rows of django_celery_beat; other data names legacy tasks on purpose."""
    if b"django_celery_beat.periodictask" not in before:
        return
    for number, line in enumerate(before.split(b"\n"), 1):
        if b"task" in line and pattern.search(line):
            shown = line.decode("utf-8", errors="replace").strip()
            yield Leftover(code="PERIODIC-ROW", line=number, found=shown[:200])
