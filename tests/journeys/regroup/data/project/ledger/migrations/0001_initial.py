from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="Entry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("ref", models.CharField(db_index=True, max_length=80)),
                ("what", models.CharField(max_length=40)),
                ("detail", models.CharField(default="", max_length=200)),
                ("pool", models.CharField(default="", max_length=40)),
                ("created", models.DateTimeField(auto_now_add=True)),
            ],
        ),
    ]
