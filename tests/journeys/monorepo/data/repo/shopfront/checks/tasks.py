import dramatiq

from ledger.book import note


@dramatiq.actor(queue_name="checks", max_retries=3)
def check_address(ref, country="DE"):
    note(ref, "address", country)
