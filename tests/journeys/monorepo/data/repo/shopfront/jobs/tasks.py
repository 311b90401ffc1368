import dramatiq

from catalog.tasks import reindex
from checks.tasks import check_address
from ledger.book import note


@dramatiq.actor(max_retries=5)
def place_order(ref, sku):
    note(ref, "order", sku)
    notify_customer.send(ref)
    check_address.send(ref, country="DE")
    reindex.send(ref)


@dramatiq.actor
def notify_customer(ref, channel="mail"):
    note(ref, "notify", channel)
