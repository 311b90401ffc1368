"""Deletes old prices and warms the cache."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from . import default_symbols
from .base import BadArgumentsError
from .host_settings import load_model
from .providers import get_cache, get_finnhub_scraper, get_unified_crypto_provider, get_yahoo_scraper

#: Rows deleted in one statement: a long one would lock the table.
DELETE_BATCH = 2000

QUOTE_TIMEOUT_S = 300
HISTORY_TIMEOUT_S = 3600
HISTORY_DAYS = 30


def delete_old_prices(days: int) -> tuple[int, datetime]:
    """Delete prices older than this many days; return how many and the limit."""
    if isinstance(days, bool) or not isinstance(days, int) or days < 1:
        raise BadArgumentsError(f"tasks.cleanup_old_data: days must be a whole number from 1 (found {days!r})")
    cutoff = timezone.now() - timedelta(days=days)
    model = load_model("PRICE_MODEL")
    deleted = 0
    while keys := list(model.objects.filter(timestamp__lt=cutoff).values_list("pk", flat=True)[:DELETE_BATCH]):
        deleted += model.objects.filter(pk__in=keys).delete()[1].get(model._meta.label, 0)
    return deleted, cutoff


def warm_symbol(symbol: str) -> None:
    """Put a symbol's latest quote and its history into the cache."""
    if default_symbols.is_crypto(symbol):
        kind, quotes, histories = "crypto", get_unified_crypto_provider(), get_unified_crypto_provider()
    else:
        kind, quotes, histories = "stock", get_finnhub_scraper(), get_yahoo_scraper()
    cache = get_cache()
    cache.set(f"{kind}_price", symbol, quotes.fetch(symbol), QUOTE_TIMEOUT_S)
    cache.set(f"{kind}_historical", symbol, histories.fetch_history(symbol, HISTORY_DAYS), HISTORY_TIMEOUT_S)
