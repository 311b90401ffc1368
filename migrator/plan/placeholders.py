"""What a plan leaves open in its texts: ``${NAME:-default}``, ``{python}``, ``{state}`` and ``{node}``, filled in."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping

from migrator.errors import UsageError
from migrator.plan.model import Plan

_REFERENCE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")


def expand(text: str, environ: Mapping[str, str], *, where: str) -> str:
    """Return ``text`` with ``${NAME}`` and ``${NAME:-default}`` filled in.

    Raises:
        UsageError: A variable is not set and has no default.
    """

    def value(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if environ.get(name):
            return environ[name]
        if default is None:
            raise UsageError(where, f"the environment variable {name} is not set", remedy=f"export {name}=…")
        return default

    return _REFERENCE.sub(value, text)


#: Names the interpreter for ``{python}`` when the project has its own.
PYTHON_VARIABLE = "MIGRATOR_PYTHON"


def fill(plan: Plan, text: str, *, environ: Mapping[str, str], where: str, node: str = "") -> str:
    """Return ``text`` with ``{python}``, ``{state}``, ``{node}`` and environment references filled in."""
    python = environ.get(PYTHON_VARIABLE) or sys.executable
    text = text.replace("{python}", python).replace("{state}", str(plan.state_folder)).replace("{node}", node)
    return expand(text, environ, where=where)
