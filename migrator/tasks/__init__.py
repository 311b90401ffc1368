"""The unified task queue: one Celery app, fourteen tasks, dead letters in the database.

`celery -A <this package> worker` finds the Celery app here.
"""

from .celery import app as celery_app

__all__ = ("celery_app",)
