"""Which symbols a task takes when the caller names none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .host_settings import host_setting, load_model, load_object

#: Taken by fetch_stock_prices while the database knows no active stock.
FEW_STOCKS = ("AAPL", "MSFT", "GOOGL", "AMZN", "TSLA")
#: Updated by batch_update_popular.
FEW_COINS = ("BTC", "ETH", "BNB", "SOL", "XRP", "ADA", "DOGE", "DOT")
#: Warmed by default.
POPULAR = ("BTC", "ETH", "SOL", "AAPL", "MSFT", "TSLA")


def stocks(limit: int) -> list[str]:
    """Return the first stocks of the project's list."""
    return list(load_object(host_setting("STOCKS"), setting_name="STOCKS"))[:limit]


def coins(limit: int | None = None) -> list[str]:
    """Return the first coins of the project's list."""
    return list(load_object(host_setting("COINS"), setting_name="COINS"))[:limit]


def as_list(symbols: str | Iterable[str]) -> list[str]:
    """Return the caller's symbols; a string is one symbol, not letters."""
    return [symbols] if isinstance(symbols, str) else list(symbols)


def get_active_symbols(asset_type: str | None = None, limit: int | None = None) -> list[str]:
    """Return the symbols of active assets, of one type or of all, in alphabetical order."""
    assets: Any = load_model("ASSET_MODEL").objects.filter(is_active=True)
    if asset_type is not None:
        assets = assets.filter(asset_type__name__iexact=asset_type)
    return list(assets.order_by("symbol").values_list("symbol", flat=True)[:limit])


def is_crypto(symbol: str) -> bool:
    """Say whether a symbol is a coin: by the project's list, else as the database says."""
    if symbol in coins():
        return True
    return bool(load_model("ASSET_MODEL").objects.filter(symbol=symbol, asset_type__name="crypto").exists())
