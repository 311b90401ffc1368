"""A project without a Celery app gets one; the package of the settings imports it.

The app itself is written by the installation (:mod:`codemods.install.celery_app`).

Source: https://docs.celeryq.dev/en/stable/django/first-steps-with-django.html
"""

from __future__ import annotations

from codemods.editing.context import FileContext
from codemods.editing.new_imports import add_imports
from codemods.protocol import Rewrite


def rewrite(context: FileContext) -> None:
    """Import the app in ``__init__``, unless that imports it already."""
    package = context.index.package
    if (
        not package
        or not context.index.needs_app
        or context.values.where.module != package
        or context.source.file.stem != "__init__"
    ):
        return
    context.local_import(f"{package}.celery", "app")
    if (f"{package}.celery", "app") not in context.result.wanted_imports:
        return
    context.result.wanted_imports.clear()
    context.result.wanted_imports[".celery", "app"] = "celery_app"
    add_imports(context, None, instead=False)


REWRITE = Rewrite(name="celery_app", whole_file=rewrite)
