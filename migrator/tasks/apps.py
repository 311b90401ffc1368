"""Registers the app with Django under its label, whatever the package is called."""

from django.apps import AppConfig

LABEL = "tasks"
#: True where the project has a Celery app of its own, whose workers get what this app has for them.
OWN_CELERY_APP = False


class TasksConfig(AppConfig):
    """The unified tasks and their dead letters."""

    name = __name__.rpartition(".")[0]
    label = LABEL
    verbose_name = "Dead letters" if OWN_CELERY_APP else "Unified tasks"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Extend the workers of the project's own Celery app."""
        if OWN_CELERY_APP:
            from . import worker

            worker.connect()
