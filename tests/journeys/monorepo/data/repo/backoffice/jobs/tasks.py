"""Accounting runs these by hand; the names are those of the shopfront on purpose."""


def place_order(ref, sku):
    return f"{ref}: {sku}"


def notify_customer(ref, channel="mail"):
    return place_order(ref, channel)
