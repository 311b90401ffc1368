import os

from celery import Celery

from jobs.book import done

app = Celery("unified", broker=os.environ["SHOP_BROKER"])
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, task_default_queue="unified")


@app.task(name="jobs.pack")
def pack(order, delay_s=0):
    done("unified", "pack", order, delay_s)


@app.task(name="jobs.mail")
def mail(orders):
    for order in orders:
        done("unified", "mail", order)
