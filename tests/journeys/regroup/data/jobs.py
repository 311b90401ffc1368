"""Everything that runs in the background, by pool: `letters` must not wait behind `papers`."""

from celery import shared_task

from ledger.book import note

# --- letters ---


@shared_task(name="letters.notice", bind=True, queue="letters")
def send_notice(self, ref, template="plain"):
    note(self, ref, "notice", template)


@shared_task(name="letters.receipt", bind=True, queue="letters", max_retries=3)
def send_receipt(self, ref, amount):
    if amount < 0 and self.request.retries < 1:
        raise self.retry(exc=RuntimeError("the server is busy"), countdown=2)
    note(self, ref, "receipt", amount)


@shared_task(name="letters.digest", bind=True, queue="letters")
def send_digest(self, ref, layout="long"):
    note(self, ref, "digest", layout)


@shared_task(name="letters.nudge", bind=True, queue="letters")
def send_nudge(self, ref):
    note(self, ref, "nudge")


# --- papers ---


@shared_task(name="papers.daily", bind=True, queue="papers")
def daily(self, ref, day="today"):
    note(self, ref, "daily", day)
    return {"ref": ref, "day": day}


@shared_task(name="papers.export", bind=True, queue="papers")
def export(self, report, fmt="csv"):
    note(self, report["ref"], "export", f"{report['day']}.{fmt}")


@shared_task(name="papers.label", bind=True, queue="papers")
def print_label(self, ref, size):
    note(self, ref, "label", size)


@shared_task(name="papers.purge", bind=True, queue="papers")
def purge(self, ref, older_than):
    note(self, ref, "purge", older_than)
