"""Pipeline, cache and lists of the host project."""

from decimal import Decimal

from assets.models import Article, Asset, AssetPricesHistoric, AssetType
from django.core.cache import cache
from django.utils.dateparse import parse_datetime

STOCKS = ["AAPL", "MSFT", "GOOGL"]
COINS = {"BTC": "bitcoin", "ETH": "ethereum"}


class Pipeline:
    def store_quote(self, quote):
        kind, _ = AssetType.objects.get_or_create(name="crypto" if quote["symbol"] in COINS else "stock")
        asset, _ = Asset.objects.get_or_create(symbol=quote["symbol"], defaults={"asset_type": kind})
        return AssetPricesHistoric.objects.create(
            asset=asset,
            source=quote["source"],
            price=Decimal(str(quote["price"])),
            timestamp=parse_datetime(quote["timestamp"]),
        )

    def store_news(self, article):
        return Article.objects.update_or_create(url=article["url"], defaults={"title": article["title"]})[0]


class Cache:
    def get(self, kind, key):
        return cache.get(f"{kind}:{key}")

    def set(self, kind, key, value, timeout_s):
        cache.set(f"{kind}:{key}", value, timeout_s)
