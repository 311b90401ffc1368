from django.db import models


class Booking(models.Model):
    reference = models.CharField(max_length=40, unique=True)
    kind = models.CharField(max_length=20)
    confirmed = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
