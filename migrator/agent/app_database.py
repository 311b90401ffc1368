"""Report where the project's routers send the models of an app; run as a script in the project's folder.

With ``query`` each model is asked for a row, as the project's own code would ask. The answer is one line of JSON.

Usage: app_database.py SETTINGS LABEL [query]

Source: https://docs.djangoproject.com/en/5.2/topics/db/multi-db/#using-routers
"""

import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main(arguments: Sequence[str]) -> int:
    """Ask the routers, and print the answer."""
    settings, label, *query = arguments
    os.environ["DJANGO_SETTINGS_MODULE"] = settings
    # The project's folder, not this script's, whose modules have names of their own.
    sys.path[:] = [str(Path.cwd()), *(entry for entry in sys.path if Path(entry) != Path(__file__).parent)]
    importlib.import_module("configurations" if os.environ.get("DJANGO_CONFIGURATION") else "django").setup()
    from django.apps import apps
    from django.db import router

    models: list[Any] = []
    if any(config.label == label for config in apps.get_app_configs()):
        models = [model for model in apps.get_app_config(label).get_models() if model._meta.managed]
    found = {
        "databases": sorted({router.db_for_write(model) for model in models}),
        "missing": [text for model in models if query and (text := _problem(model))],
    }
    sys.stdout.write("\n" + json.dumps(found) + "\n")
    return 0


def _problem(model: Any) -> str:
    """Return why a model can't be asked; empty if it can."""
    from django.db import DatabaseError

    try:
        model._default_manager.exists()
    except DatabaseError as error:
        return f"{model._meta.label}: {error}".strip()
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
