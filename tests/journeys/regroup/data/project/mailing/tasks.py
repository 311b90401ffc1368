"""Letters; the names of these tasks are those that Celery gives them."""

from courier.celery import app
from ledger.book import note


@app.task(bind=True)
def send_notice(self, ref, template="plain"):
    note(self, ref, "notice", template)


@app.task(bind=True, max_retries=3)
def send_receipt(self, ref, amount):
    if amount < 0 and self.request.retries < 1:
        raise self.retry(exc=RuntimeError("the server is busy"), countdown=2)
    note(self, ref, "receipt", amount)


@app.task(bind=True)
def send_digest(self, ref, layout="long"):
    note(self, ref, "digest", layout)


@app.task(bind=True)
def send_nudge(self, ref):
    note(self, ref, "nudge")
