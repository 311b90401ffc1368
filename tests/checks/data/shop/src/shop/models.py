from django.db import models


class Item(models.Model):
    name = models.CharField(max_length=50, unique=True)
    amount = models.IntegerField(default=0)
    changed_at = models.DateTimeField()


class Delivery(models.Model):
    item = models.ForeignKey(Item, on_delete=models.CASCADE)
    token = models.CharField(max_length=64)


class TaskFailure(models.Model):
    task_name = models.CharField(max_length=200)
    args = models.TextField()
    traceback = models.TextField(blank=True)
