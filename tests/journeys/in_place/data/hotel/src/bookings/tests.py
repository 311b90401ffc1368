from unittest import mock

from django.test import TestCase

from bookings import tasks
from bookings.models import Booking


class BookingTests(TestCase):
    def test_confirm(self):
        Booking.objects.create(reference="a", kind="confirm")
        with mock.patch("bookings.tasks.note"):
            tasks.confirm("a")
        self.assertTrue(Booking.objects.get().confirmed)

    @mock.patch("bookings.tasks.confirm.send")
    def test_a_booking_is_confirmed_in_the_background(self, send):
        self.assertEqual(self.client.get("/book/confirm/b").json(), {"id": "b"})
        send.assert_called_once_with("b")

    def test_a_reminder_comes_later(self):
        with mock.patch.object(tasks.remind, "send_with_options") as send:
            self.client.get("/book/remind/c")
        send.assert_called_once_with(args=("c",), kwargs={"channel": "sms"}, delay=8000)
