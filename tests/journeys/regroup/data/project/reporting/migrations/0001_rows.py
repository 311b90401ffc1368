"""The row that the office made in the admin, on every new installation as well."""

from django.db import migrations


def nudge(apps, schema_editor):
    every, _ = apps.get_model("django_celery_beat", "IntervalSchedule").objects.get_or_create(every=5, period="seconds")
    apps.get_model("django_celery_beat", "PeriodicTask").objects.get_or_create(
        name="Nudge the office",
        defaults={"task": "mailing.tasks.send_nudge", "interval": every, "args": '["office"]', "queue": "mail"},
    )


class Migration(migrations.Migration):
    dependencies = [("django_celery_beat", "0019_alter_periodictasks_options")]
    operations = [migrations.RunPython(nudge, migrations.RunPython.noop)]
