from ledger.models import Entry


def note(task, ref, what, detail=""):
    """Write down what was done, and from which queue it came."""
    route = task.request.delivery_info or {}
    Entry.objects.create(ref=ref, what=what, detail=str(detail), pool=route.get("routing_key") or "")
