from unittest import mock

from django.test import SimpleTestCase

from jobs import tasks


class PlaceOrderTest(SimpleTestCase):
    @mock.patch("jobs.tasks.reindex.send")
    @mock.patch("jobs.tasks.check_address.send")
    @mock.patch("jobs.tasks.notify_customer.send")
    @mock.patch("jobs.tasks.note")
    def test_sends_what_follows(self, note, notify, check, reindex):
        tasks.place_order("r1", "book")
        note.assert_called_once_with("r1", "order", "book")
        notify.assert_called_once_with("r1")
        check.assert_called_once_with("r1", country="DE")
        reindex.assert_called_once_with("r1")
