"""The ``migrator`` command, and ``python -m migrator``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

#: Where it runs: the locks of files, process groups and signals of POSIX are used everywhere.
SYSTEMS = ("linux", "darwin")


def main() -> NoReturn:
    """Run the command line."""
    if sys.platform not in SYSTEMS:
        message = f"this system: migrator runs on Linux and macOS (found {sys.platform}); on Windows, run it in WSL"
        sys.stderr.write(f"error: {message}\n")
        sys.exit(2)
    search_ours_first()
    from migrator.cli import main as run

    run()


def search_ours_first() -> None:
    """Search the current folder and ``PYTHONPATH`` last: they may be a project's, with modules named like ours.

    Source: https://docs.python.org/3/library/sys_path_init.html
    """
    ours = Path(__file__).resolve().parents[1]
    given = {Path(entry).resolve() for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry}
    given = (given | {Path.cwd()}) - {ours}
    last = [entry for entry in sys.path if Path(entry).resolve() in given]
    sys.path[:] = [*(entry for entry in sys.path if entry not in last), *last]


if __name__ == "__main__":
    main()
