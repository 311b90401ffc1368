"""Environments of other interpreters, and one that a project has for itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

from missing import missing


def interpreter(version: str) -> Path:
    """Return a Python of a version such as ``3.13``: the one on PATH, or one that pyenv has."""
    candidates = [shutil.which(f"python{version}")]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates += [str(file) for file in sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"), reverse=True)]
    for candidate in filter(None, candidates):
        asked = [candidate, "-c", "import sys; print(sys.executable)"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode == 0:
            return Path(done.stdout.strip())
    return missing(f"there is no Python {version}")


def project_python(folder: Path) -> Path:
    """Make an environment with the libraries of this one, but not the tool, and return its interpreter."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    # Only this folder is searched: the files in it that would add others, such as our source, are not read.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"
