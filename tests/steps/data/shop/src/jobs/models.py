from django.db import models


class TaskFailure(models.Model):
    task_name = models.CharField(max_length=100)
