"""The entry point of the Dramatiq workers: `dramatiq config.worker …`."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
os.environ.setdefault("DJANGO_CONFIGURATION", "Production")

import configurations  # noqa: E402

configurations.setup()
