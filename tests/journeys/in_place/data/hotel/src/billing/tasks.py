from dramatiq import GenericActor

from hotel.audit import note


class BillingActor(GenericActor):
    class Meta:
        abstract = True
        max_retries = 10

    def perform(self, reference, cents=0):
        self.write(reference, cents)
        note(self.label, reference)


class Invoice(BillingActor):
    """Write an invoice."""

    label = "invoice"

    def write(self, reference, cents):
        assert cents >= 0
