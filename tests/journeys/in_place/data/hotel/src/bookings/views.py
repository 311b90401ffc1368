import dramatiq
from django.http import HttpResponse, JsonResponse

from billing.tasks import Invoice
from bookings import tasks
from bookings.models import Booking


def book(request, kind, reference):
    Booking.objects.get_or_create(reference=reference, defaults={"kind": kind})
    if kind == "confirm":
        tasks.confirm.send(reference)
    elif kind == "remind":
        tasks.remind.send_with_options(args=(reference,), kwargs={"channel": "sms"}, delay=8000)
    elif kind == "settle":
        tasks.settle.send(reference)
    elif kind == "notify":
        tasks.notify.send(reference, text="hello")
    elif kind == "offer":
        dramatiq.pipeline([tasks.price.message(reference, 2), tasks.offer.message(reference)]).run()
    elif kind == "invoice":
        Invoice.send(reference, cents=250)
    else:
        return HttpResponse(status=404)
    return JsonResponse({"id": reference})


def healthz(request):
    return HttpResponse("ok")
