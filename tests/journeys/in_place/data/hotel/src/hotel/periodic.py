"""What `periodiq hotel.periodic` loads."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hotel.settings")
django.setup()

import bookings.tasks  # noqa: E402, F401
