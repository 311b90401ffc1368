"""The versions of what runs the project: of Python, and of the libraries whose behaviour is compared."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("celery", "dramatiq", "Django", "kombu", "redis")


def answer(arguments: Sequence[str]) -> dict[str, str]:
    """Return them by name."""
    found = {"Python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found
