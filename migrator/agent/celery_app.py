"""The project's Celery app, with everything that its workers import.

Source: celery/app/utils.py (`find_app`), celery/loaders/base.py (`import_default_modules`).
"""

from __future__ import annotations

from typing import Any


def find(name: str) -> Any:
    """Return the app that ``-A NAME`` means, with its tasks."""
    from celery.app.utils import find_app

    return loaded(find_app(name))


def loaded(app: Any) -> Any:
    """Return an app after it has imported its tasks."""
    app.loader.import_default_modules()
    app.finalize()
    return app


def schedule_of(app: Any) -> dict[str, str]:
    """Return the entries of the effective schedule with their tasks."""
    return {str(name): str(entry.get("task")) for name, entry in (app.conf.beat_schedule or {}).items()}
