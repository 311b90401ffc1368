from ledger.models import Entry


def note(ref, what, detail=""):
    Entry.objects.create(ref=ref, what=what, detail=str(detail))
