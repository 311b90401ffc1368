"""A server or a program that a test needs and the machine does not have: a failure in CI, a loud skip elsewhere."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """Fail the test in CI and skip it elsewhere, where the summary gives the reason."""
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        pytest.fail(what)
    pytest.skip(what)
