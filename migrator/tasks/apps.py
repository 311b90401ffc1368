"""Registers the app with Django under the label `tasks`, whatever the package is called."""

from django.apps import AppConfig


class TasksConfig(AppConfig):
    """The unified tasks and their dead letters."""

    name = __name__.rpartition(".")[0]
    label = "tasks"
    verbose_name = "Unified tasks"
    default_auto_field = "django.db.models.BigAutoField"
