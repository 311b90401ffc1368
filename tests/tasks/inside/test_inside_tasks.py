"""What the tasks do, and what the base class makes of failures."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import providers
import pytest
import redis
from assets.models import Article, Asset, AssetPricesHistoric, AssetType
from celery.exceptions import Reject, Retry
from django.conf import settings
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from tasks_market import Market

from migrator.tasks import default_symbols, indicators
from migrator.tasks import unified_tasks as u
from migrator.tasks.base import BadArgumentsError, PartialFailureError
from migrator.tasks.celery import app
from migrator.tasks.models import TaskFailure
from migrator.tasks.retry_after import retry_after_s


def sent() -> list[dict[str, Any]]:
    with redis.Redis.from_url(settings.CELERY_BROKER_URL, socket_timeout=5) as client:
        lists = ["unified", *(f"unified\x06\x16{step}" for step in (3, 6, 9))]
        return [json.loads(raw) for name in lists for raw in client.lrange(name, 0, -1)]


def call(message: dict[str, Any]) -> list[Any]:
    return json.loads(base64.b64decode(message["body"]))[:2]


def asset(symbol: str, kind: str = "stock", *, active: bool = True) -> Asset:
    kind_row, _ = AssetType.objects.get_or_create(name=kind)
    return Asset.objects.create(symbol=symbol, asset_type=kind_row, is_active=active)


def prices(row: Asset, values: list[float], *, until: datetime | None = None) -> None:
    until = until or datetime.now(UTC)
    first = until - timedelta(hours=len(values))
    AssetPricesHistoric.objects.bulk_create(
        AssetPricesHistoric(asset=row, source="t", price=value, timestamp=first + timedelta(hours=number))
        for number, value in enumerate(values)
    )


def in_worker(task: Any, *, retries: int = 0, args: Any = (), kwargs: Any = None, **request: Any) -> Any:
    """Trace the task as a worker does, on a message of the given attempt."""
    from celery.app.trace import build_tracer

    headers = {"id": "call", "retries": retries, "headers": {}, "delivery_info": {}, **request}
    headers["delivery_info"] = {"exchange": "", "routing_key": "unified", "priority": 5, **headers["delivery_info"]}
    return build_tracer(task.name, task, app=app)("call", list(args), kwargs or {}, headers)


@pytest.mark.parametrize(("retries", "delay_s"), [(0, 60), (1, 120), (2, 240), (3, 480), (4, 960)])
def test_backoff(market: Market, retries: int, delay_s: int) -> None:
    market.fail("BAD")
    in_worker(u.fetch_yahoo_stocks, retries=retries, args=[["BAD"]])
    (message,) = sent()
    eta = datetime.fromisoformat(message["headers"]["eta"])
    assert (eta - datetime.now(UTC)).total_seconds() == pytest.approx(delay_s, abs=3)
    assert (message["headers"]["retries"], message["headers"]["id"]) == (retries + 1, "call")


@pytest.mark.parametrize(("wish", "delay_s"), [("300", 300), ("10", 60)])
def test_longer_retry_after_is_respected(market: Market, wish: str, delay_s: int) -> None:
    market.fail("BAD", 429, Retry_After=wish)
    in_worker(u.fetch_binance_cryptos, args=[["BTC", "BAD"]])
    (message,) = sent()
    eta = datetime.fromisoformat(message["headers"]["eta"])
    assert (eta - datetime.now(UTC)).total_seconds() == pytest.approx(delay_s, abs=3)


def test_retry_after_of_a_task_without_symbols(market: Market) -> None:
    market.fail("articles", 429, Retry_After="200")
    in_worker(u.fetch_news)
    eta = datetime.fromisoformat(sent()[0]["headers"]["eta"])
    assert (eta - datetime.now(UTC)).total_seconds() == pytest.approx(200, abs=3)


class Response:
    def __init__(self, wish: str) -> None:
        self.headers = {"Retry-After": wish}


class HTTPStatusError(Exception):
    def __init__(self, wish: str) -> None:
        super().__init__("429")
        self.response = Response(wish)


def test_retry_after_of_responses() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    past = format_datetime(datetime.now(UTC) - timedelta(seconds=90), usegmt=True)
    assert retry_after_s(HTTPStatusError("120")) == 120
    assert retry_after_s(HTTPStatusError(soon)) == pytest.approx(90, abs=2)
    for nothing in (past, "soon", "nan", "inf", "-5", "0", ""):
        assert retry_after_s(HTTPStatusError(nothing)) is None
    assert retry_after_s(None) is None
    assert retry_after_s(ValueError()) is None


def test_counts_add_up_over_the_attempts(market: Market) -> None:
    market.fail("BAD", times=1)
    in_worker(u.fetch_yahoo_stocks, args=[["AAPL", "BAD", "MSFT"]])
    (message,) = sent()
    assert call(message) == [[], {"symbols": ["BAD"]}]
    headers = {name: value for name, value in message["headers"].items() if name.startswith("x-")}
    result = in_worker(u.fetch_yahoo_stocks, retries=1, kwargs=call(message)[1], headers=headers)
    assert {name: result.retval[name] for name in ("total", "success", "failed")} == {
        "total": 3, "success": 3, "failed": 0,
    }  # fmt: skip
    assert market.requests == ["yahoo/AAPL", "yahoo/BAD", "yahoo/MSFT", "yahoo/BAD"]


def test_exhausted_retries(market: Market) -> None:
    market.fail("BAD")
    in_worker(u.fetch_coingecko_cryptos, retries=3, args=[["BAD", "ETH"], 9])
    assert sent() == []
    row = TaskFailure.objects.get()
    assert row.arguments == ([], {"symbols": ["BAD"], "limit": 9})
    assert (row.attempts, row.queue, row.priority) == (4, "unified", 5)


def test_once_retried_task_and_never_retried_task() -> None:
    assert (u.cleanup_old_data.max_retries, u.health_check.max_retries) == (1, 0)
    assert u.batch_update_popular.autoretry_for == ()


def test_documented_policies() -> None:
    levels = {task.name.partition(".")[2]: (task.priority, task.max_retries) for task in tasks()}
    assert levels == {
        "fetch_yahoo_stocks": (0, 5), "fetch_alpha_stocks": (0, 5), "fetch_binance_cryptos": (0, 5),
        "fetch_coingecko_cryptos": (5, 3), "fetch_unified_crypto": (0, 5), "fetch_stock_prices": (5, 3),
        "fetch_news": (5, 3), "calculate_indicators": (5, 3), "cleanup_old_data": (9, 1),
        "update_single_asset": (0, 3), "cache_warming": (5, 3), "health_check": (5, 0),
        "fetch_all_markets": (5, 3), "batch_update_popular": (5, 0),
    }  # fmt: skip


def tasks() -> list[Any]:
    app.loader.import_default_modules()
    return [task for name, task in app.tasks.items() if name.startswith("tasks.")]


def test_wrong_arguments_are_not_retried() -> None:
    in_worker(u.fetch_yahoo_stocks, kwargs={"symbol": "AAPL"})
    assert sent() == []
    assert "unexpected keyword argument 'symbol'" in TaskFailure.objects.get().exception
    with pytest.raises(TypeError):
        u.fetch_yahoo_stocks.delay(symbol="AAPL")


def test_wrong_settings_are_not_retried() -> None:
    settings.UNIFIED_TASKS["PIPELINE"] = "services.Nowhere"
    try:
        in_worker(u.fetch_yahoo_stocks, args=[["AAPL", "MSFT"]])
        with pytest.raises(ImproperlyConfigured, match="UNIFIED_TASKS"):
            u.fetch_yahoo_stocks(["AAPL"])
    finally:
        settings.UNIFIED_TASKS["PIPELINE"] = "services.Pipeline"
    assert sent() == []
    assert "services.Nowhere" in TaskFailure.objects.get().exception


def test_unknown_setting_is_named() -> None:
    settings.UNIFIED_TASKS["PROVIDER"] = {}
    try:
        with pytest.raises(ImproperlyConfigured, match="found PROVIDER"):
            u.get_pipeline()
    finally:
        del settings.UNIFIED_TASKS["PROVIDER"]


def test_direct_call_reports_the_failures(market: Market) -> None:
    market.fail("BAD")
    result = u.fetch_yahoo_stocks(["AAPL", "BAD"])
    assert (result["total"], result["success"], result["failed_symbols"]) == (2, 1, ["BAD"])
    assert TaskFailure.objects.count() == 0


def test_provider_without_key_is_retried_and_then_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WITHOUT_ALPHA_KEY", "1")
    in_worker(u.fetch_alpha_stocks, args=[["AAPL"]])
    assert len(sent()) == 1
    monkeypatch.delenv("WITHOUT_ALPHA_KEY")
    assert in_worker(u.fetch_alpha_stocks, args=[["AAPL"]]).retval["success"] == 1


def test_providers_are_created_once_and_only_when_needed() -> None:
    assert u._scraper_cache == {}
    u.fetch_yahoo_stocks(["AAPL"])
    u.fetch_yahoo_stocks(["MSFT"])
    assert providers.CREATED == ["yahoo"]
    assert u.get_yahoo_scraper() is u._scraper_cache["yahoo"]


def test_soft_time_limit_keeps_what_is_done(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    from celery.exceptions import SoftTimeLimitExceeded

    def fetch(self: Any, symbol: str) -> dict[str, Any]:
        if symbol == "LATE":
            raise SoftTimeLimitExceeded
        return {"symbol": symbol, "price": 1, "source": "y", "timestamp": datetime.now(UTC).isoformat()}

    monkeypatch.setattr(providers.Yahoo, "fetch", fetch)
    in_worker(u.fetch_yahoo_stocks, args=[["AAPL", "LATE", "NEXT"]])
    assert call(sent()[0])[1]["symbols"] == ["LATE", "NEXT"]


def test_refused_retry_requeues_the_message() -> None:
    """The broker refuses the new message: Celery would drop the old one; here it is requeued."""
    url = app.conf.broker_url
    app.conf.broker_url = "redis://127.0.0.1:1/0"
    app.amqp._producer_pool = app._pool = None
    u.fetch_news.push_request(id="x", called_directly=False, retries=0, delivery_info={"routing_key": "unified"})
    try:
        with pytest.raises(Reject) as refused:
            u.fetch_news.retry(exc=ValueError())
    finally:
        u.fetch_news.pop_request()
        app.conf.broker_url = url
        app.amqp._producer_pool = app._pool = None
    assert refused.value.requeue


def test_retry_in_a_body_is_not_swallowed(market: Market) -> None:
    """A body with `except Exception` around and `raise self.retry()` inside."""
    u.fetch_news.push_request(
        id="x", called_directly=False, retries=2, delivery_info={"exchange": "", "routing_key": "q"}
    )
    try:
        with pytest.raises(Retry) as asked:
            try:
                raise ValueError("x")
            except ValueError as error:
                raise u.fetch_news.retry(exc=error) from error
    finally:
        u.fetch_news.pop_request()
    assert asked.value.when == 240


def test_partial_failure_survives_pickling() -> None:
    import pickle

    failure = PartialFailureError("text")
    failure.remaining, failure.succeeded, failure.retry_after = ["A"], 3, 5.0
    copy = pickle.loads(pickle.dumps(failure))
    assert (str(copy), copy.remaining, copy.succeeded, copy.retry_after) == ("text", ["A"], 3, 5.0)


@pytest.mark.parametrize(
    ("task", "provider", "count"),
    [
        (u.fetch_yahoo_stocks, "yahoo", 3), (u.fetch_alpha_stocks, "alpha", 3), (u.fetch_binance_cryptos, "binance", 2),
        (u.fetch_coingecko_cryptos, "coingecko", 2), (u.fetch_unified_crypto, "unified", 2),
    ],
)  # fmt: skip
def test_default_symbols(market: Market, task: Any, provider: str, count: int) -> None:
    everything = services_list("STOCKS" if count == 3 else "COINS")
    assert task()["total"] == count
    assert market.requests == [f"{provider}/{symbol}" for symbol in everything]
    market.requests.clear()
    assert task(limit=1)["total"] == 1
    assert task("AAPL")["total"] == 1
    assert market.requests == [f"{provider}/{everything[0]}", f"{provider}/AAPL"]


def services_list(name: str) -> list[str]:
    import services

    return list(getattr(services, name))


def test_stock_prices_of_active_stocks(market: Market) -> None:
    assert u.fetch_stock_prices()["total"] == len(default_symbols.FEW_STOCKS)
    Asset.objects.all().delete()
    market.requests.clear()
    for symbol in ("B", "A", "C"):
        asset(symbol)
    asset("0-OLD", active=False)
    asset("0-COIN", "crypto")
    assert u.fetch_stock_prices(limit=2)["total"] == 2
    assert market.requests == ["finnhub/A", "finnhub/B"]
    assert u.fetch_stock_prices(["X", "Y", "Z"], limit=2)["total"] == 2


def test_news(market: Market) -> None:
    assert u.fetch_news(limit=2)["total"] == 2
    u.fetch_news("other", "business", limit=3)
    assert sorted(Article.objects.values_list("title", flat=True)) == ["other business"] * 3


def test_indicators_of_all_active_assets() -> None:
    rising = [100 + number * 0.5 for number in range(60)]
    prices(asset("AAPL"), rising)
    prices(asset("BTC", "crypto"), [50000.0] * 25)
    prices(asset("NEW"), [1.0] * 19)
    prices(asset("GONE", active=False), rising)
    result = u.calculate_indicators()
    assert (result["total"], result["success"], result["failed"]) == (3, 2, 0)
    assert [(skip["symbol"], skip["points"]) for skip in result["skipped"]] == [("NEW", 19)]
    values = cache.get("indicators:AAPL")
    assert values == result["indicators"]["AAPL"]
    assert values["sma_20"] == pytest.approx(sum(rising[-20:]) / 20)
    assert values["sma_50"] == pytest.approx(sum(rising[-50:]) / 50)
    assert values["rsi_14"] == pytest.approx(100)
    assert values["bollinger_lower"] < values["bollinger_middle"] < values["bollinger_upper"]
    assert values["macd"] > 0
    flat = result["indicators"]["BTC"]
    assert (flat["sma_20"], flat["sma_50"], flat["macd"]) == (50000, None, None)
    json.dumps(result)


def test_indicators_take_the_last_prices_only() -> None:
    prices(asset("AAPL"), [1.0] * 30 + [100.0] * 20)
    assert u.calculate_indicators(["AAPL"], period=20)["indicators"]["AAPL"]["sma_20"] == 100
    assert u.calculate_indicators("AAPL", period=19)["skipped"][0]["points"] == 19
    assert u.calculate_indicators(["NOBODY"])["skipped"][0]["points"] == 0
    assert indicators.closing_prices("AAPL", 3) == [100.0] * 3


def test_cleanup() -> None:
    row = asset("AAPL")
    prices(row, [1.0] * 5, until=datetime.now(UTC) - timedelta(days=400))
    prices(row, [2.0] * 3)
    result = u.cleanup_old_data()
    assert (result["deleted"], AssetPricesHistoric.objects.count()) == (5, 3)
    for nonsense in (0, -1, "7", True, 1.5):
        with pytest.raises(BadArgumentsError):
            u.cleanup_old_data(nonsense)
    assert AssetPricesHistoric.objects.count() == 3


def test_single_asset(market: Market) -> None:
    assert u.update_single_asset("BTC")["source"] == "binance"
    assert u.update_single_asset("AAPL")["source"] == "yahoo"
    asset("ODD", "crypto")
    assert u.update_single_asset("ODD")["source"] == "binance"
    answer = u.update_single_asset("AAPL", "coinmarketcap")
    assert (answer["symbol"], answer["price"]) == ("AAPL", 5)
    unknown = u.update_single_asset("AAPL", source="astrology")
    assert (unknown["error"], unknown["failed"]) == ("Unknown source: astrology", 1)
    assert len(market.requests) == 4


def test_cache_warming(market: Market) -> None:
    assert u.cache_warming()["total"] == 6
    assert cache.get("crypto_price:BTC")["symbol"] == "BTC"
    assert cache.get("stock_price:AAPL")["source"] == "finnhub"
    assert len(cache.get("stock_historical:AAPL")) == 2
    assert u.cache_warming(["ETH"])["total"] == 1


def test_all_markets_and_popular() -> None:
    result = u.fetch_all_markets()
    messages = sent()
    assert {message["headers"]["group"] for message in messages} == {result["group_id"]}
    assert sorted(message["headers"]["task"] for message in messages) == [
        "tasks.fetch_alpha_stocks", "tasks.fetch_binance_cryptos", "tasks.fetch_coingecko_cryptos",
        "tasks.fetch_yahoo_stocks",
    ]  # fmt: skip
    assert u.batch_update_popular()["total"] == 3
    assert len(sent()) == 7


def test_health() -> None:
    result = u.health_check()
    assert (result["status"], result["errors"], result["failed"]) == ("healthy", {}, 0)
    assert result["dead_letters"] == {"open": 0, "spooled": 0}
    assert providers.CREATED == []
    settings.UNIFIED_TASKS["PROVIDERS"]["alpha"] = "providers.Gone"
    u.send_to_dead_letter("tasks.x", [], {}, "reason")
    url, app.conf.broker_url = app.conf.broker_url, "redis://127.0.0.1:1/0"
    try:
        result = u.health_check()
    finally:
        settings.UNIFIED_TASKS["PROVIDERS"]["alpha"] = "providers.Alpha"
        app.conf.broker_url = url
    assert result["status"] == "unhealthy"
    assert sorted(result["errors"]) == ["broker", "provider:alpha"]
    assert result["checks"]["database"]
    assert result["dead_letters"]["open"] == 1
    json.dumps(result)


def test_active_symbols() -> None:
    for symbol in ("C", "A", "B"):
        asset(symbol)
    asset("BTC", "crypto")
    assert u.get_active_symbols("stock", 2) == ["A", "B"]
    assert default_symbols.get_active_symbols() == ["A", "B", "BTC", "C"]
