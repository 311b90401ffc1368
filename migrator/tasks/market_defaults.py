"""Priorities and retries of the fourteen tasks, and what they need from the host project."""

from __future__ import annotations

from .host_settings import DEFAULTS
from .priority import POLICIES, Priority, TaskPolicy

POLICIES.update(
    {
        "tasks.fetch_yahoo_stocks": TaskPolicy(priority=Priority.HIGH, max_retries=5),
        "tasks.fetch_alpha_stocks": TaskPolicy(priority=Priority.HIGH, max_retries=5),
        "tasks.fetch_binance_cryptos": TaskPolicy(priority=Priority.HIGH, max_retries=5),
        "tasks.fetch_coingecko_cryptos": TaskPolicy(priority=Priority.MEDIUM, max_retries=3),
        "tasks.fetch_unified_crypto": TaskPolicy(priority=Priority.HIGH, max_retries=5),
        "tasks.fetch_stock_prices": TaskPolicy(priority=Priority.MEDIUM, max_retries=3),
        "tasks.fetch_news": TaskPolicy(priority=Priority.MEDIUM, max_retries=3),
        "tasks.calculate_indicators": TaskPolicy(priority=Priority.MEDIUM, max_retries=3),
        "tasks.cleanup_old_data": TaskPolicy(priority=Priority.LOW, max_retries=1),
        "tasks.update_single_asset": TaskPolicy(priority=Priority.HIGH, max_retries=3),
        "tasks.cache_warming": TaskPolicy(priority=Priority.MEDIUM, max_retries=3),
        "tasks.health_check": TaskPolicy(priority=Priority.MEDIUM, max_retries=0),
        "tasks.fetch_all_markets": TaskPolicy(priority=Priority.MEDIUM, max_retries=3),
        "tasks.batch_update_popular": TaskPolicy(priority=Priority.MEDIUM, max_retries=0),
    }
)
DEFAULTS.update(
    {
        "CELERY_APP": f"{__package__}.celery",
        "PROVIDERS": {
            "yahoo": "data.data_providers.yahooFinance.scraper.YahooFinanceScraper",
            "alpha": "data.data_providers.alphaVantage.scraper.AlphaVantageScraper",
            "binance": "data.data_providers.binance.scraper.BinanceScraper",
            "coingecko": "data.data_providers.coinGecko.scraper.CoinGeckoScraper",
            "coinmarketcap": "data.data_providers.coinMarketCap.scraper.CoinMarketCapScraper",
            "unified_crypto": "data.data_providers.unifiedCrypto.scraper.UnifiedCryptoProvider",
            "finnhub": "data.data_providers.finnHub.scraper.FinnhubScraper",
            "news": "data.data_providers.newsApi.scraper.NewsApiScraper",
        },
        "PIPELINE": "data.processing.pipeline.DataPipeline",
        "CACHE": "utils.services.cache_manager.CacheManager",
        "ASSET_MODEL": "assets.Asset",
        "PRICE_MODEL": "assets.AssetPricesHistoric",
        #: Symbols used when a caller names none: dotted paths of lists (or of dicts, whose keys are used).
        "STOCKS": "data.universe.STOCKS",
        "COINS": "data.universe.COINS",
    }
)
