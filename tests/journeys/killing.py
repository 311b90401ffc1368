"""The console script killed at an exact place."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

from small_projects import Project

#: Kills the process before its n-th rename in the project, from within: no signal from outside is so exact.
KILLER = """\
import os, signal, sys

seen = 0


def watch(event, arguments):
    global seen
    if event == "os.rename" and str(arguments[0]).endswith(".migrator"):
        seen += 1
        if seen == int(os.environ["KILL_AT"]):
            os.kill(os.getpid(), signal.SIGKILL)


if "KILL_AT" in os.environ:
    sys.addaudithook(watch)
"""


def killed(project: Project, folder: Path, place: int) -> subprocess.CompletedProcess[str]:
    """Run the rewrite and kill it before its n-th rename."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(KILLER)
    environ = {"PYTHONPATH": str(folder), "KILL_AT": str(place)}
    return replace(project, environ=environ).migrator("rewrite-imports")
