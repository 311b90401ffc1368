from django.db import models


class Entry(models.Model):
    """What was done for which reference."""

    ref = models.CharField(max_length=80, db_index=True)
    what = models.CharField(max_length=40)
    detail = models.CharField(max_length=200, default="")
    pool = models.CharField(max_length=40, default="")
    created = models.DateTimeField(auto_now_add=True)
