"""Providers and services of the host project, created on first use and once per process.

Nothing is created at import, and a constructor that fails (an API key is still missing) is tried again next time.
"""

from __future__ import annotations

from typing import Any

from .host_settings import host_setting, load_object

_scraper_cache: dict[str, Any] = {}
_service_cache: dict[str, Any] = {}


def get_provider(name: str) -> Any:
    """Return the provider of this name from the settings; KeyError if there is none."""
    if name not in _scraper_cache:
        _scraper_cache[name] = load_object(host_setting("PROVIDERS")[name], setting_name="PROVIDERS")()
    return _scraper_cache[name]


def get_yahoo_scraper() -> Any:
    """Return the Yahoo Finance provider."""
    return get_provider("yahoo")


def get_alpha_scraper() -> Any:
    """Return the Alpha Vantage provider."""
    return get_provider("alpha")


def get_binance_scraper() -> Any:
    """Return the Binance provider."""
    return get_provider("binance")


def get_coingecko_scraper() -> Any:
    """Return the CoinGecko provider."""
    return get_provider("coingecko")


def get_unified_crypto_provider() -> Any:
    """Return the provider that tries several exchanges."""
    return get_provider("unified_crypto")


def get_finnhub_scraper() -> Any:
    """Return the Finnhub provider."""
    return get_provider("finnhub")


def get_news_scraper() -> Any:
    """Return the news provider."""
    return get_provider("news")


def get_pipeline() -> Any:
    """Return the pipeline that validates and stores quotes and news."""
    return _service("PIPELINE")


def get_cache() -> Any:
    """Return the cache manager."""
    return _service("CACHE")


def _service(setting_name: str) -> Any:
    if setting_name not in _service_cache:
        _service_cache[setting_name] = load_object(host_setting(setting_name), setting_name=setting_name)()
    return _service_cache[setting_name]
