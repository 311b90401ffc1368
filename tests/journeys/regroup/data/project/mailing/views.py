from django.http import JsonResponse

from courier.celery import app
from courier.names import DIGEST, Job
from mailing.tasks import send_notice, send_receipt


def parcel(request, ref):
    send_notice.delay(ref, template="arrived")
    amount = -5 if len(ref) % 2 else 5  # some get money back
    send_receipt.apply_async(args=(ref, amount), countdown=1)
    app.send_task(DIGEST, args=[ref], kwargs={"layout": "long"})
    app.send_task(Job.LABEL.value, args=[ref, "A6"])
    return JsonResponse({"ref": ref})
