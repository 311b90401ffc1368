import dramatiq

from ledger.book import note


@dramatiq.actor(queue_name="catalog")
def reindex(ref):
    note(ref, "reindex")


@dramatiq.actor(queue_name="catalog", max_age=3_600_000)
def make_thumbnail(ref, size):
    note(ref, "thumbnail", size)
