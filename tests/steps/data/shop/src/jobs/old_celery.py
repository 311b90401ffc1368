import os

from celery import Celery

from jobs.book import done

app = Celery("old", broker=os.environ["SHOP_BROKER"])
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, worker_hijack_root_logger=False)


@app.task(name="jobs.old_celery.pack_order")
def pack_order(order, delay_s=0):
    done("celery", "pack", order, delay_s)
