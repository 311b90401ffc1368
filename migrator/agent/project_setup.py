"""Set up the project's Django as its own processes do, and describe why it can't be, where it can't."""

from __future__ import annotations

import importlib
import importlib.util
import os
from contextlib import suppress
from typing import Any


class ProjectSetupError(Exception):
    """The project's settings can't be imported, or its apps can't be loaded."""


def use_settings(settings: str) -> None:
    """Name the settings module of this process; its apps are not loaded."""
    os.environ["DJANGO_SETTINGS_MODULE"] = settings
    if os.environ.get("DJANGO_CONFIGURATION"):
        importlib.import_module("configurations.importer").install()


def set_up(settings: str) -> None:
    """Set Django up with a settings module.

    Raises:
        ProjectSetupError: That raised; the cause is what it was.
    """
    os.environ["DJANGO_SETTINGS_MODULE"] = settings
    try:
        importlib.import_module("configurations" if os.environ.get("DJANGO_CONFIGURATION") else "django").setup()
    except Exception as error:
        raise ProjectSetupError from error


def failure(error: BaseException) -> dict[str, Any]:
    """Return why the project can't be used: the error, and a package that this interpreter lacks, if that is it.

    ``setup`` is true where it has nothing to do with a single module.
    """
    in_setup = isinstance(error, ProjectSetupError)
    shown = error.__cause__ if in_setup and error.__cause__ is not None else error
    text = f"{type(shown).__name__}: {shown}".encode("utf-8", "backslashreplace").decode()
    return {"broken": text, "setup": in_setup, "missing": _missing(shown)}


def _missing(error: BaseException | None) -> str:
    """Return the package that is missing, also where it is only the cause of the error; empty if none is."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ModuleNotFoundError) and error.name:
            package = error.name.partition(".")[0]
            with suppress(ImportError, ValueError):
                if importlib.util.find_spec(package) is None:
                    return package
        error = error.__cause__ or error.__context__
    return ""
