import dramatiq
from django.conf import settings
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AgeLimit, CurrentMessage, Retries
from jobs import work

broker = RedisBroker(url=settings.SHOP_BROKER_URL, middleware=[AgeLimit(), Retries(max_retries=2), CurrentMessage()])
dramatiq.set_broker(broker)


@dramatiq.actor(broker=broker)
def restock_actor(name, amount=1):
    if name == "failing":
        raise ValueError("supplier is down")
    result = work.restock(name, amount)
    follow_up.send_with_options(args=(name,), delay=10_000)
    if name == "disagree":
        result["amount"] = -1
    return result


@dramatiq.actor(broker=broker)
def follow_up(name):
    pass
