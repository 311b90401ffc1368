"""Waiting with a deadline: a wait that runs out raises an exception of its own, which pyproject.toml knows by name."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class WaitTimeoutError(AssertionError):
    """What a test waited for did not happen in time; on a busy machine that is no wrong result."""


def wait_until(check: Callable[[], Any], *, timeout_s: float = 60.0, what: object = None, pause_s: float = 0.05) -> Any:
    """Return the first true value of ``check``, which is called at least once.

    Args:
        what: What is waited for, for the message; a function is called when the time is up and may tell more.

    Raises:
        WaitTimeoutError: There was none in time.
    """
    deadline = time.monotonic() + timeout_s
    while not (value := check()):
        if time.monotonic() >= deadline:
            told = what() if callable(what) else what
            raise WaitTimeoutError(f"not within {timeout_s} s: {check if told is None else told}")
        time.sleep(pause_s)
    return value
