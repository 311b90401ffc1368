from celery import Celery
from django.conf import settings
from jobs import work

app = Celery("old", broker=settings.SHOP_BROKER_URL)


@app.task(bind=True, max_retries=2, priority=5)
def restock(self, name, amount=1):
    if name == "failing":
        raise self.retry(exc=ValueError("supplier is down"), countdown=30)
    result = work.restock(name, amount)
    follow_up.apply_async((name,), countdown=10)
    return result


@app.task
def follow_up(name):
    pass


@app.task
def misbehave(how):
    return work.misbehave(how)


@app.task
def forget():
    pass
