from unittest import mock

from django.test import TestCase

from ledger.models import Entry
from mailing.tasks import send_notice


class MailingTests(TestCase):
    def test_notice(self):
        send_notice.apply(args=("m1", "plain"))
        self.assertEqual(Entry.objects.get(ref="m1").detail, "plain")

    @mock.patch("mailing.views.app.send_task")
    @mock.patch("mailing.views.send_receipt.apply_async")
    @mock.patch("mailing.views.send_notice.delay")
    def test_parcel(self, notice, receipt, by_name):
        self.client.get("/parcel/m2/")
        notice.assert_called_once_with("m2", template="arrived")
        receipt.assert_called_once_with(args=("m2", 5), countdown=1)
        self.assertEqual(by_name.call_count, 2)
