"""Dead letters: calls that failed permanently, or that no worker could run."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models
from django.utils import timezone

from .exact_json import decode


class TaskFailure(models.Model):
    """One call that failed permanently, with everything needed to send it again."""

    class Status(models.TextChoices):
        """Whether somebody has dealt with it, and how."""

        OPEN = "open", "open"
        RETRIED = "retried", "sent again"
        RESOLVED = "resolved", "resolved"

    #: The same failure has the same key, however often it is recorded.
    key = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    task_name = models.CharField(max_length=255, db_index=True)
    args = models.TextField(default="[]", help_text="positional arguments, exact JSON")
    kwargs = models.TextField(default="{}", help_text="keyword arguments, exact JSON")
    exception = models.TextField(blank=True)
    traceback = models.TextField(blank=True)
    task_id = models.CharField(max_length=255, blank=True, db_index=True)
    queue = models.CharField(max_length=255, blank=True)
    priority = models.SmallIntegerField(null=True, blank=True, help_text="number in the message")
    attempts = models.PositiveIntegerField(null=True, blank=True, help_text="runs, the first one included")
    headers = models.TextField(default="{}", help_text="the message's own headers, JSON")
    raw = models.TextField(blank=True, help_text="the whole message, if no worker could run it, JSON")
    replayable = models.BooleanField(default=True, help_text="the arguments could be kept exactly")
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.OPEN, db_index=True)
    failed_at = models.DateTimeField(default=timezone.now, db_index=True)
    created_at = models.DateTimeField(auto_now_add=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    retry_task_id = models.CharField(max_length=255, blank=True, help_text="id of the call that was sent again")
    note = models.TextField(blank=True)

    class Meta:
        ordering = ("-failed_at", "-id")
        verbose_name = "dead letter"
        verbose_name_plural = "dead letters"

    def __str__(self) -> str:
        return f"{self.task_name}[{self.task_id or self.key}] {self.status}"

    @property
    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """The arguments as values."""
        return decode(self.args), decode(self.kwargs)
