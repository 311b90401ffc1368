from django.http import JsonResponse

from catalog.tasks import make_thumbnail, reindex
from jobs.tasks import place_order
from tasks.mailing import send_receipt


def order(request, ref):
    place_order.send(ref, "book")
    send_receipt.delay(ref)
    return JsonResponse({"ref": ref})


def product(request, ref):
    """A product was edited; nothing of it is the business of orders."""
    reindex.send(ref)
    make_thumbnail.send_with_options(args=(ref, 120), delay=300)
    return JsonResponse({"ref": ref})
