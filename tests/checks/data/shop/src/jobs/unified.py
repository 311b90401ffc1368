from celery import Celery
from django.conf import settings
from jobs import work

app = Celery("unified", broker=settings.SHOP_BROKER_URL)
app.conf.task_default_queue = "unified"


@app.task(bind=True, name="jobs.restock", max_retries=3, priority=5)
def restock(self, names, amount=1):
    (name,) = names
    twist = name.partition("twist-")[2]
    if name == "failing":
        from shop.models import TaskFailure

        if self.request.retries >= 2:
            TaskFailure.objects.create(task_name=self.name, args=str(names))
            raise ValueError("supplier is down")
        raise self.retry(exc=ValueError("supplier is down"), countdown=60)
    if twist == "exception":
        raise KeyError(name)
    result = work.restock(name, amount, twist)
    if twist != "message":
        follow_up.apply_async((name,), countdown=20 if twist == "delay" else 10, **({"queue": "far"} if twist == "queue" else {}))
    return result


@app.task(name="jobs.follow_up")
def follow_up(name):
    pass


@app.task(name="jobs.misbehave")
def misbehave(how):
    return work.misbehave(how if how != "broken" else "fine")
