"""Providers that ask the market server over HTTP."""

import contextlib
import json
import os
import signal
import time
from email.message import Message
from urllib.error import HTTPError
from urllib.request import urlopen

from django.conf import settings

#: Every instance made in this process, by name.
CREATED = []


class ProviderError(Exception):
    """What a provider raises."""

    def __init__(self, message, retry_after=None):
        super().__init__(message)
        self.retry_after = retry_after


class Provider:
    """One provider; subclasses give the name."""

    name = ""

    def __init__(self):
        if os.environ.get(f"WITHOUT_{self.name.upper()}_KEY"):
            raise ProviderError(f"{self.name}: no API key")
        CREATED.append(self.name)

    def _get(self, path):
        try:
            with urlopen(f"{settings.MARKET_URL}/{self.name}/{path}", timeout=20) as answer:
                return json.load(answer)
        except HTTPError as error:
            headers = error.headers or Message()
            wish = headers.get("Retry-After")
            raise ProviderError(f"{self.name}: HTTP {error.code}", retry_after=float(wish) if wish else None) from None

    def fetch(self, symbol):
        return {**self._get(symbol), "source": self.name, "symbol": symbol}

    def fetch_history(self, symbol, days=30):
        return [{**self._get(symbol), "day": day} for day in range(2)]


class Yahoo(Provider):
    name = "yahoo"

    def fetch(self, symbol):
        if symbol == "POISON":
            os.kill(os.getpid(), signal.SIGKILL)
        if symbol == "HANG":
            with contextlib.suppress(BaseException):
                time.sleep(60)
            time.sleep(60)
        return super().fetch(symbol)


class Alpha(Provider):
    name = "alpha"


class Binance(Provider):
    name = "binance"


class CoinGecko(Provider):
    name = "coingecko"


class CoinMarketCap(Provider):
    name = "coinmarketcap"


class UnifiedCrypto(Provider):
    name = "unified"


class Finnhub(Provider):
    name = "finnhub"


class News(Provider):
    name = "news"

    def fetch_news(self, query, category, count):
        self._get("articles")
        return [{"url": f"http://news/{number}", "title": f"{query} {category}"} for number in range(min(count, 3))]
