"""Report where the project's routers send the models of an app.

With ``query`` each model is asked for a row, as the project's own code would ask. The arguments are the settings, the
label, and that word if wanted.

Source: https://docs.djangoproject.com/en/5.2/topics/db/multi-db/#using-routers
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .project_setup import set_up


def answer(arguments: Sequence[str]) -> dict[str, Any]:
    """Ask the routers."""
    settings, label, *query = arguments
    set_up(settings)
    from django.apps import apps
    from django.db import router

    models: list[Any] = []
    if any(config.label == label for config in apps.get_app_configs()):
        models = [model for model in apps.get_app_config(label).get_models() if model._meta.managed]
    return {
        "databases": sorted({router.db_for_write(model) for model in models}),
        "missing": [text for model in models if query and (text := _problem(model))],
    }


def _problem(model: Any) -> str:
    """Return why a model can't be asked; empty if it can."""
    from django.db import DatabaseError

    try:
        model._default_manager.exists()
    except DatabaseError as error:
        return f"{model._meta.label}: {error}".strip()
    return ""
