from django.test import TestCase

from ledger.models import Entry
from reporting.tasks import daily, export


class ReportingTests(TestCase):
    def test_daily(self):
        result = daily.apply(args=("r1",), kwargs={"day": "tue"}).get()
        export.apply(args=(result,))
        self.assertEqual(sorted(Entry.objects.values_list("detail", flat=True)), ["tue", "tue.csv"])
