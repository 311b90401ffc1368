"""Dead letters in Django's admin: view, send again, mark as resolved."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from .models import TaskFailure
from .replay import CannotReplayError, resolve_failure, retry_failure


@admin.register(TaskFailure)
class TaskFailureAdmin(admin.ModelAdmin):
    """Rows are written by workers; people retry and resolve them."""

    list_display = ("id", "task_name", "task_id", "queue", "attempts", "status", "failed_at", "short_exception")
    list_filter = ("status", "task_name", "queue", "failed_at")
    search_fields = ("task_name", "task_id", "exception", "args", "kwargs")
    date_hierarchy = "failed_at"
    actions = ("send_again", "mark_resolved")
    readonly_fields = tuple(field.name for field in TaskFailure._meta.fields if field.name != "note")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return False: only workers create rows."""
        return False

    @admin.display(description="exception")
    def short_exception(self, failure: TaskFailure) -> str:
        """Return the first line."""
        return str(failure.exception).partition("\n")[0][:120]

    @admin.action(description="Send the call again", permissions=["change"])
    def send_again(self, request: HttpRequest, chosen: QuerySet[Any]) -> None:
        """Send each call again, and report those that could not be sent."""
        sent = 0
        for key in chosen.values_list("pk", flat=True):
            try:
                retry_failure(key)
            except CannotReplayError as error:
                self.message_user(request, str(error), messages.WARNING)
            except Exception as error:  # noqa: BLE001  # the broker's errors belong on the page, not in a crash
                self.message_user(request, f"{key}: not sent: {type(error).__name__}: {error}", messages.ERROR)
            else:
                sent += 1
        self.message_user(request, f"{sent} sent again")

    @admin.action(description="Mark as resolved", permissions=["change"])
    def mark_resolved(self, request: HttpRequest, chosen: QuerySet[Any]) -> None:
        """Mark each as resolved."""
        for key in chosen.values_list("pk", flat=True):
            resolve_failure(key, f"by {request.user}")
        self.message_user(request, "marked as resolved")
