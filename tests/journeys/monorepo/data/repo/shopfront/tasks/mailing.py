from celery import shared_task

from ledger.book import note


@shared_task
def send_receipt(ref):
    note(ref, "receipt")


@shared_task
def stock_report():
    note("beat", "stock-report")
