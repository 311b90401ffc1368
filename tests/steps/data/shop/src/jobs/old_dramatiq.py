import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from jobs.book import done

dramatiq.set_broker(RedisBroker(url=os.environ["SHOP_BROKER"]))


@dramatiq.actor
def pack_box(order, delay_s=0):
    done("dramatiq", "pack", order, delay_s)


@dramatiq.actor
def mail_order(order):
    done("dramatiq", "mail", order)


@dramatiq.actor
def polish(order):
    done("dramatiq", "polish", order)
