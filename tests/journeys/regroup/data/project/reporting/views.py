from celery import chain
from django.http import JsonResponse

from courier.names import Job
from courier.reports_app import app
from reporting.tasks import daily, export, purge


def report(request, ref):
    chain(daily.s(ref, "mon"), export.s(fmt="pdf")).delay()
    app.send_task(Job.DAILY.value, (f"{ref}-byname",), {"day": "wed"})
    purge.apply_async((ref, 7), queue="reports")
    return JsonResponse({"ref": ref})
