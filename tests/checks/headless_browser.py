"""A real browser without a window: headless shell, Chromium or Chrome, whichever the machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from missing import missing

#: The first that is on PATH is taken; the headless shell starts fastest.
BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")
ABSENT = f"none of {', '.join(BROWSERS)} on PATH: run `make setup-servers` as root"
START_TIMEOUT_S = 60
#: Every version knows `--headless`: the old mode where there are two, else the only one; the shell has no other.
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--virtual-time-budget=2000",
)


def find_browser() -> str:
    """Return the path of the machine's browser. Without one: a failure in CI, a loud skip elsewhere."""
    return next(filter(None, map(shutil.which, BROWSERS)), None) or missing(ABSENT)


def browse(*arguments: str) -> str:
    """Start the browser with further arguments and return what it prints."""
    program = find_browser()
    # A profile that another process uses would hand the address over to it, and print nothing.
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        command = [program, *FLAGS, *_sandbox(), f"--user-data-dir={profile}", *arguments]
        environ = {**os.environ, "HOME": profile}
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False
        )
    assert done.returncode == 0, f"{Path(program).name} ended with {done.returncode}:\n{done.stderr[-3000:]}"
    return done.stdout


def _sandbox() -> tuple[str, ...]:
    """Return the flag without which Chromium does not start for root."""
    return ("--no-sandbox",) if os.geteuid() == 0 else ()
