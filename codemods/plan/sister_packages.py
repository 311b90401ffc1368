"""Packages that need Dramatiq: what imports them breaks when it is uninstalled.

Those that are called after it, whole or a submodule (``django_dramatiq``, ``sentry_sdk.integrations.dramatiq``), those
that are known to need it, and what the virtual environments in the project's folder say of their distributions.
Source: https://packaging.python.org/en/latest/specifications/recording-installed-packages/ (METADATA, RECORD).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

#: Without its name in theirs.
KNOWN = frozenset({"periodiq", "duratiq"})
LEGACY = "dramatiq"
_NEEDS = re.compile(r"^Requires-Dist: *dramatiq\b(?![-_.])(?!.*extra *==)", re.IGNORECASE | re.MULTILINE)
#: What to take instead, by the start of the dotted path.
INSTEAD = {
    "sentry_sdk.integrations.dramatiq": "sentry_sdk has a CeleryIntegration, which is on where Celery is installed",
    "django_dramatiq.test": "run tasks at once in tests: CELERY_TASK_ALWAYS_EAGER, or call the function",
    "dramatiq_crontab": "name the schedule in the plan: [[schedule]]",
    "periodiq": "name the schedule in the plan: [[schedule]]",
    "dramatiq_abort": "revoke the task: AsyncResult.revoke(terminate=True)",
}


def needing_packages(folder: Path) -> frozenset[str]:
    """Return the top-level packages that need Dramatiq and don't say so by their names."""
    found = set(KNOWN)
    for site in _sites(folder):
        for metadata in site.glob("*.dist-info/METADATA"):
            try:
                if _NEEDS.search(metadata.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]):
                    found |= _top_level(metadata.with_name("RECORD"))
            except OSError:
                continue
    return frozenset(name for name in found if LEGACY not in name)


def needs_dramatiq(dotted: str, needing: frozenset[str]) -> bool:
    """Tell whether a dotted path leads into a package that needs Dramatiq, by its name or by its metadata."""
    return dotted.partition(".")[0] in needing or any(LEGACY in part.lower() for part in dotted.split("."))


def instead(dotted: str) -> str:
    """Return a dotted path with what to take instead, where that is known."""
    hint = next((text for start, text in INSTEAD.items() if f"{dotted}.".startswith(f"{start}.")), "")
    return f"{dotted}: {hint}" if hint else dotted


def _sites(folder: Path) -> Iterator[Path]:
    for inner in folder.iterdir():
        if inner.is_dir() and (inner / "pyvenv.cfg").exists():
            yield from inner.glob("lib/python*/site-packages")
            yield from inner.glob("Lib/site-packages")


def _top_level(record: Path) -> set[str]:
    """Return the packages and modules that a distribution installs."""
    names = set()
    for line in record.read_text(encoding="utf-8", errors="replace").splitlines():
        first, slash, _ = line.partition(",")[0].partition("/")
        if slash and first.isidentifier() and not first.startswith("__"):
            names.add(first)
        elif not slash and first.endswith(".py"):
            names.add(first.removesuffix(".py"))
    return names
