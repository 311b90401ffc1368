"""An environment in which both the tool and the project are installed, and what goes wrong in it.

pytest imports this in every run, so nothing heavy is imported here.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from migrator.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from migrator.plan.model import Plan

#: The packages of the tool; in an environment that is shared, a project's package of the same name hides one of them,
#: or is hidden by it.
PACKAGES = ("migrator", "codemods", "checks")
_OURS = Path(__file__).parents[2]


def refuse_namesakes(plan: Plan, environ: Mapping[str, str]) -> None:
    """Refuse to run a project in the tool's own environment if packages of both have the same name.

    Raises:
        RefusedError: They have.
    """
    from migrator.plan.interpreter import project_python

    try:
        program = project_python(plan, environ).command[0]
    except UsageError:  # said where an interpreter is needed
        return
    python = shutil.which(program, path=environ.get("PATH"))
    # Not resolved: the interpreter of a virtual environment is a link to the one that made it.
    if python is not None and Path(python).parent == Path(sys.executable).parent:
        refuse_packages([plan.source_root])


def refuse_packages(folders: Iterable[Path], names: Iterable[str] = PACKAGES) -> None:
    """Refuse folders that the project is imported from, in this environment, and that have a package named like ours.

    Raises:
        RefusedError: One has.
    """
    for package in (folder / name for folder in folders if folder.resolve() != _OURS for name in names):
        if any(package.glob("*.py")) or package.with_suffix(".py").is_file():
            raise RefusedError(
                str(package),
                "the project has a package that is called like one of the tool's, and both share one environment",
                found=sys.executable,
                remedy="install the tool into an environment of its own: `pipx install taskqueue-migrator`",
            )
