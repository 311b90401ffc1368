"""Background work around bookings."""

import logging

import dramatiq
from periodiq import cron

from bookings.models import Booking
from hotel.audit import note
from hotel.queueing import defaults

logger = logging.getLogger(__name__)


class NotYetPaid(Exception):
    pass


@dramatiq.actor
def confirm(reference):
    """Confirm a booking."""
    Booking.objects.filter(reference=reference).update(confirmed=True)
    note("confirm", reference)


@dramatiq.actor(**defaults(max_age=3_600_000))
def remind(reference, *, channel="mail"):
    """Remind a guest; a reminder that is an hour late helps nobody."""
    note("remind", reference)


@dramatiq.actor(**defaults())
def settle(reference, attempt_of_ours=1):
    """Try again in a second until the payment is there."""
    if reference.endswith("7") and not Booking.objects.filter(reference=reference, confirmed=True).exists():
        Booking.objects.filter(reference=reference).update(confirmed=True)
        raise NotYetPaid(reference)
    note("settle", reference)


@dramatiq.actor(max_retries=3)
async def notify(reference, text="welcome"):
    """Tell the guest, in the app."""
    note("notify", reference)


@dramatiq.actor
def price(reference, nights):
    """Return what a stay costs."""
    return nights * 80


@dramatiq.actor
def offer(reference, amount):
    """Send an offer; the amount comes from the step before."""
    assert amount == 160, amount
    note("offer", reference)


@dramatiq.actor(periodic=cron("30 3 * * *"), max_retries=0, time_limit=10 * 60 * 1000)
def clean_up():
    """Every night: forget bookings that were never confirmed."""
    logger.info("%d bookings are not confirmed", Booking.objects.filter(confirmed=False).count())
