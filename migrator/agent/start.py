"""Run one module of this folder in the project's interpreter: ``python -P start.py MODULE REQUESTS REPLIES …``.

The folder is loaded under a name of its own, and neither it nor its siblings are put on ``sys.path``: the project's
packages are found, whatever their names are.
Source: https://docs.python.org/3/library/importlib.html#importing-a-source-file-directly
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path

#: Name of the package in that interpreter; no project has a package of this name.
NAME = "_migrator_agent"


def load() -> None:
    """Load the folder of this file as the package :data:`NAME`."""
    folder = Path(__file__).parent
    spec = importlib.util.spec_from_file_location(
        NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = package
    spec.loader.exec_module(package)


# A worker that is spawned instead of forked runs this file again, under another name.
load()

if __name__ == "__main__":
    module = importlib.import_module(f"{NAME}.{sys.argv.pop(1)}")
    status = module.main()
    sys.stdout.flush()
    # Threads and exit handlers of the project must not delay the end of this process.
    os._exit(status)
