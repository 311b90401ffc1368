"""The table of dead letters."""

from __future__ import annotations

import uuid
from typing import ClassVar

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    """Creates TaskFailure."""

    initial = True

    dependencies: ClassVar[list[tuple[str, str]]] = []

    operations: ClassVar[list[object]] = [
        migrations.CreateModel(
            name="TaskFailure",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ("task_name", models.CharField(db_index=True, max_length=255)),
                ("args", models.TextField(default="[]", help_text="positional arguments, exact JSON")),
                ("kwargs", models.TextField(default="{}", help_text="keyword arguments, exact JSON")),
                ("exception", models.TextField(blank=True)),
                ("traceback", models.TextField(blank=True)),
                ("task_id", models.CharField(blank=True, db_index=True, max_length=255)),
                ("queue", models.CharField(blank=True, max_length=255)),
                ("priority", models.SmallIntegerField(blank=True, help_text="number in the message", null=True)),
                (
                    "attempts",
                    models.PositiveIntegerField(blank=True, help_text="runs, the first one included", null=True),
                ),
                ("headers", models.TextField(default="{}", help_text="the message's own headers, JSON")),
                ("raw", models.TextField(blank=True, help_text="the whole message, if no worker could run it, JSON")),
                (
                    "replayable",
                    models.BooleanField(default=True, help_text="the arguments could be kept exactly"),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[("open", "open"), ("retried", "sent again"), ("resolved", "resolved")],
                        db_index=True,
                        default="open",
                        max_length=16,
                    ),
                ),
                ("failed_at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("resolved_at", models.DateTimeField(blank=True, null=True)),
                (
                    "retry_task_id",
                    models.CharField(blank=True, help_text="id of the call that was sent again", max_length=255),
                ),
                ("note", models.TextField(blank=True)),
            ],
            options={
                "verbose_name": "dead letter",
                "verbose_name_plural": "dead letters",
                "ordering": ("-failed_at", "-id"),
            },
        ),
    ]
