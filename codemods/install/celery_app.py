"""The Celery app of a project that has none.

Without an app, tasks are sent to Celery's default broker on this machine. The app stands in ``celery.py`` of the
package that holds the settings, and the package imports it, so that every process that loads the settings has it. Its
schedule counts in Django's time zone, as the schedulers of Dramatiq do, unless ``CELERY_TIMEZONE`` says otherwise.
Source: https://docs.celeryq.dev/en/stable/django/first-steps-with-django.html, celery/utils/collections.py
(``add_defaults`` is asked before the settings).
"""

from __future__ import annotations

import ast
from pathlib import Path

from migrator.inventory.module_facts import ModuleFacts, read_module
from migrator.inventory.source_files import SourceFiles, module_file
from migrator.plan.model import Plan
from migrator.wire.message import System

#: The classes of Celery's app.
_APPS = frozenset({"celery.Celery", "celery.app.Celery", "celery.app.base.Celery"})
IMPORT = "from .celery import app as celery_app"
_TEXT = """\
import os

from celery import Celery
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{settings}")

app = Celery("{package}")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.add_defaults(lambda: {{"timezone": getattr(settings, "CELERY_TIMEZONE", settings.TIME_ZONE)}})
app.autodiscover_tasks()
"""


def needs_app(plan: Plan, sources: SourceFiles) -> bool:
    """Tell whether a plan's tasks would be sent by Celery's default app: nothing makes one, installs or plans one."""
    installed = plan.project.install_to and not plan.project.own_app
    if installed or plan.endpoint(System.CELERY) is not None:
        return False
    if not settings_file(plan):
        return False
    own = app_files(plan)
    files = (file for file in sources.python_files(plan.source_root) if sources.read(file) != own.get(file))
    return not any(_makes_app(plan, sources, file) for file in files)


def settings_file(plan: Plan) -> Path | None:
    """Return the file of the settings module; None if it isn't there."""
    return module_file(plan.source_root, plan.project.settings)


def app_files(plan: Plan) -> dict[Path, bytes]:
    """Return the app's files with their content; none if the settings module is in no package."""
    package, dot, _ = plan.project.settings.partition(".")
    folder = plan.source_root / package
    if not dot:
        return {}
    text = _TEXT.format(settings=plan.project.settings, package=package)
    init = {} if (folder / "__init__.py").exists() else {folder / "__init__.py": f"{IMPORT}\n".encode()}
    return {folder / "celery.py": text.encode(), **init}


def _makes_app(plan: Plan, sources: SourceFiles, file: Path) -> bool:
    """Tell whether a file names Celery's app class; one that tests make is none of the project."""
    inside = file.relative_to(plan.source_root).parts
    data = sources.read(file)
    if b"Celery" not in data or "tests" in inside or inside[-1].startswith(("test_", "conftest")):
        return False
    try:
        facts = read_module(plan.source_root, file, data)
    except (SyntaxError, ValueError, RecursionError):
        return True
    return any(_names_app(facts, node) for node in facts.nodes)


def _names_app(facts: ModuleFacts, node: ast.AST) -> bool:
    return isinstance(node, (ast.Name, ast.Attribute)) and facts.dotted(node) in _APPS
