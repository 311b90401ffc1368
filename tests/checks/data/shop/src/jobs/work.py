"""What all three sides do; `twist` names the one thing that the unified side does otherwise, for the tests."""
import logging
import os
import socket
import time
import urllib.error
import urllib.request
import uuid

from django.conf import settings
from django.core.cache import cache
from django.core.mail import send_mail
from django.utils import timezone
from shop.models import Delivery, Item

logger = logging.getLogger("shop")


def restock(name, amount, twist=""):
    with urllib.request.urlopen(settings.SUPPLIER_URL + "/stock/" + ("other" if twist == "http" else name), timeout=5) as answer:
        answer.read()
    if twist != "update":
        Item.objects.filter(name="known").update(amount=amount, changed_at=timezone.now())
    item, _ = Item.objects.get_or_create(name=name, defaults={"amount": amount, "changed_at": timezone.now()})
    if twist != "row":
        Delivery.objects.create(item=item, token=uuid.uuid4().hex)
    if twist != "deleted":
        Item.objects.filter(name="old").delete()
    cache.set("stock:" + name, amount, 60 if twist == "ttl" else 300)
    if twist != "mail":
        send_mail("Stock", name, "shop@example.com", ["boss@example.com"])
    if twist != "log":
        logger.warning("restocked %s", name)
    return {"amount": amount + 1 if twist == "value" else amount, "at": timezone.now().isoformat()}


def misbehave(how):
    if how == "hang":
        time.sleep(60)
    if how == "exit":
        os._exit(3)
    if how == "kill":
        os.kill(os.getpid(), 9)
    if how == "huge":
        return "x" * (100 * 1024 * 1024)
    if how == "many":
        return list(range(300_000))
    if how == "deep":
        value = []
        for _ in range(500):
            value = [value]
        return value
    if how == "network":
        try:
            socket.create_connection(("192.0.2.1", 80), timeout=1)
        except OSError:
            return "swallowed"
    if how == "unix":
        try:
            socket.socket(socket.AF_UNIX).connect("/tmp/a-live-broker.sock")
        except OSError:
            return "swallowed"
    if how == "datagram":
        try:
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 8125))
        except OSError:
            return "swallowed"
    if how == "unanswered":
        try:
            urllib.request.urlopen(settings.SUPPLIER_URL + "/nothing", timeout=5)
        except urllib.error.HTTPError:
            return "swallowed"
    if how == "fill":
        with open(os.path.join(os.environ.get("TMPDIR", "/tmp"), "fill-%d" % os.getpid()), "wb") as file:
            os.unlink(file.name)
            for _ in range(100):
                file.write(b"x" * (1 << 20))
                file.flush()
    if how == "print":
        print("x" * 100_000)
    if how == "broken":
        raise ImportError("no module named yesterday")
    return how
