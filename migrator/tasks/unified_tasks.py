"""The fourteen tasks. Importing this creates no provider and opens no connection."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from celery import group

from . import default_symbols, health, indicators, maintenance
from .base import UnifiedTask
from .batch import run_batch, summary
from .celery import app
from .dead_letter import send_to_dead_letter
from .default_symbols import get_active_symbols
from .priority import POLICIES
from .providers import (
    _scraper_cache,
    get_alpha_scraper,
    get_binance_scraper,
    get_cache,
    get_coingecko_scraper,
    get_finnhub_scraper,
    get_news_scraper,
    get_pipeline,
    get_provider,
    get_unified_crypto_provider,
    get_yahoo_scraper,
)

__all__ = (
    "_scraper_cache",
    "batch_update_popular",
    "cache_warming",
    "calculate_indicators",
    "cleanup_old_data",
    "fetch_all_markets",
    "fetch_alpha_stocks",
    "fetch_binance_cryptos",
    "fetch_coingecko_cryptos",
    "fetch_news",
    "fetch_stock_prices",
    "fetch_unified_crypto",
    "fetch_yahoo_stocks",
    "get_active_symbols",
    "get_alpha_scraper",
    "get_binance_scraper",
    "get_cache",
    "get_coingecko_scraper",
    "get_finnhub_scraper",
    "get_news_scraper",
    "get_pipeline",
    "get_unified_crypto_provider",
    "get_yahoo_scraper",
    "health_check",
    "send_to_dead_letter",
    "update_single_asset",
)


def unified_task(body: Callable[..., Any]) -> Any:
    """Make a function one of the tasks of the policy table."""
    name = f"tasks.{body.__name__}"
    policy = POLICIES[name]
    options: dict[str, Any] = {} if policy.max_retries else {"autoretry_for": (), "retry_on_worker_lost": False}
    return app.task(name=name, bind=True, base=UnifiedTask, max_retries=policy.max_retries, **options)(body)


DEFAULT_QUERY = "stocks OR crypto OR bitcoin OR ethereum OR finance"

_QUOTE_SOURCES = frozenset({"yahoo", "alpha", "binance", "coingecko", "coinmarketcap", "unified_crypto", "finnhub"})


def _fetch_quotes(task: UnifiedTask, source: str, provider: str, symbols: str | list[str]) -> dict[str, Any]:
    """Fetch a quote for each symbol and hand it to the pipeline."""

    def fetch(symbol: str) -> None:
        get_pipeline().store_quote(get_provider(provider).fetch(symbol))

    return run_batch(task, source, default_symbols.as_list(symbols), fetch)


@unified_task
def fetch_yahoo_stocks(self: UnifiedTask, symbols: list[str] | None = None, limit: int = 20) -> dict[str, Any]:
    """Store quotes from Yahoo Finance; by default of the first `limit` stocks of the project's list."""
    if symbols is None:
        symbols = default_symbols.stocks(limit)
    return _fetch_quotes(self, "yahoo_finance", "yahoo", symbols)


@unified_task
def fetch_alpha_stocks(self: UnifiedTask, symbols: list[str] | None = None, limit: int = 10) -> dict[str, Any]:
    """Store quotes from Alpha Vantage; by default of the first `limit` stocks of the project's list."""
    if symbols is None:
        symbols = default_symbols.stocks(limit)
    return _fetch_quotes(self, "alpha_vantage", "alpha", symbols)


@unified_task
def fetch_binance_cryptos(self: UnifiedTask, symbols: list[str] | None = None, limit: int = 20) -> dict[str, Any]:
    """Store quotes from Binance; by default of the first `limit` coins of the project's list."""
    if symbols is None:
        symbols = default_symbols.coins(limit)
    return _fetch_quotes(self, "binance", "binance", symbols)


@unified_task
def fetch_coingecko_cryptos(self: UnifiedTask, symbols: list[str] | None = None, limit: int = 20) -> dict[str, Any]:
    """Store quotes from CoinGecko; by default of the first `limit` coins of the project's list."""
    if symbols is None:
        symbols = default_symbols.coins(limit)
    return _fetch_quotes(self, "coingecko", "coingecko", symbols)


@unified_task
def fetch_unified_crypto(self: UnifiedTask, symbols: list[str] | None = None, limit: int = 20) -> dict[str, Any]:
    """Store quotes from whichever exchange answers; by default of the first `limit` coins of the project's list."""
    if symbols is None:
        symbols = default_symbols.coins(limit)
    return _fetch_quotes(self, "unified_crypto", "unified_crypto", symbols)


@unified_task
def fetch_stock_prices(self: UnifiedTask, symbols: list[str] | None = None, limit: int = 50) -> dict[str, Any]:
    """Store quotes from Finnhub for up to `limit` symbols; by default of active stocks, a few if there are none."""
    if not symbols:
        symbols = get_active_symbols("stock", limit) or list(default_symbols.FEW_STOCKS)
    return _fetch_quotes(self, "finnhub", "finnhub", default_symbols.as_list(symbols)[:limit])


@unified_task
def fetch_news(
    self: UnifiedTask, query: str | None = None, category: str | None = None, limit: int = 50
) -> dict[str, Any]:
    """Store up to `limit` articles; storing one twice changes nothing, so a retry starts over."""
    started = time.monotonic()
    articles = get_news_scraper().fetch_news(query or DEFAULT_QUERY, category, limit)
    for article in articles:
        get_pipeline().store_news(article)
    return summary(self, "news", started, total=len(articles))


@unified_task
def calculate_indicators(self: UnifiedTask, symbols: list[str] | None = None, period: int = 200) -> dict[str, Any]:
    """Compute indicators over the last `period` stored prices; by default for all active assets."""
    values: dict[str, Any] = {}
    skipped: list[dict[str, Any]] = []

    def calculate(symbol: str) -> None:
        prices = indicators.closing_prices(symbol, period)
        if len(prices) < indicators.MINIMUM_POINTS:
            reason = f"not enough data: {len(prices)} of at least {indicators.MINIMUM_POINTS} points"
            skipped.append({"symbol": symbol, "points": len(prices), "reason": reason})
        else:
            values[symbol] = indicators.refresh(symbol, prices)

    if symbols is None:
        symbols = get_active_symbols()
    result = run_batch(self, "indicators", default_symbols.as_list(symbols), calculate)
    return {**result, "success": result["success"] - len(skipped), "skipped": skipped, "indicators": values}


@unified_task
def cleanup_old_data(self: UnifiedTask, days: int = 365) -> dict[str, Any]:
    """Delete stored prices older than `days`."""
    started = time.monotonic()
    deleted, cutoff = maintenance.delete_old_prices(days)
    return {**summary(self, "cleanup", started, total=deleted), "deleted": deleted, "cutoff": cutoff.isoformat()}


@unified_task
def update_single_asset(self: UnifiedTask, symbol: str, source: str = "auto") -> dict[str, Any]:
    """Store one quote, from the named provider or from the one that suits the asset."""
    started = time.monotonic()
    if source == "auto":
        source = "binance" if default_symbols.is_crypto(symbol) else "yahoo"
    if source not in _QUOTE_SOURCES:
        result = summary(self, source, started, total=1, failed=[symbol])
        return {**result, "error": f"Unknown source: {source}"}
    quote = get_provider(source).fetch(symbol)
    get_pipeline().store_quote(quote)
    return {**summary(self, source, started, total=1), "symbol": symbol, "price": quote["price"]}


@unified_task
def cache_warming(self: UnifiedTask, symbols: list[str] | None = None) -> dict[str, Any]:
    """Put quotes and histories into the cache; by default of the popular symbols."""
    return run_batch(
        self, "cache", default_symbols.as_list(symbols or default_symbols.POPULAR), maintenance.warm_symbol
    )


@unified_task
def health_check(self: UnifiedTask) -> dict[str, Any]:
    """Report the state of broker, database, cache and providers, and the open dead letters. Never fails."""
    started = time.monotonic()
    report = health.report()
    result = summary(self, "health_check", started, total=len(report["checks"]), failed=list(report["errors"]))
    result["failed_checks"] = result.pop("failed_symbols")
    return {**result, **report}


@unified_task
def fetch_all_markets(self: UnifiedTask) -> dict[str, Any]:
    """Send one fetch for each market as a group and return the group's id."""
    started = time.monotonic()
    fetchers = (fetch_yahoo_stocks, fetch_alpha_stocks, fetch_binance_cryptos, fetch_coingecko_cryptos)
    sent = group(task.s() for task in fetchers).apply_async()
    return {**summary(self, "all_markets", started, total=len(fetchers)), "group_id": sent.id}


@unified_task
def batch_update_popular(self: UnifiedTask) -> dict[str, Any]:
    """Send an update of coins, stocks and news."""
    started = time.monotonic()
    calls = (
        fetch_binance_cryptos.s(symbols=list(default_symbols.FEW_COINS)),
        fetch_stock_prices.s(symbols=list(default_symbols.FEW_STOCKS), limit=5),
        fetch_news.s(limit=20),
    )
    sent = [call.apply_async().id for call in calls]
    return {**summary(self, "batch", started, total=len(sent)), "sent": sent}
