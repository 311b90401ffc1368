"""Technical indicators from the stored prices, computed by TA-Lib.

They go to the cache as kind `indicators`, key the symbol, for an hour, and into the task's result.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import numpy
import talib
from django.utils import timezone

from .host_settings import load_model
from .providers import get_cache

#: With fewer stored prices nothing is calculated.
MINIMUM_POINTS = 20
CACHE_KIND = "indicators"
CACHE_TIMEOUT_S = 3600
#: Older prices are not used.
LOOK_BACK = timedelta(days=365)


def closing_prices(symbol: str, period: int) -> list[float]:
    """Return the last `period` prices stored within a year, oldest first."""
    prices = load_model("PRICE_MODEL").objects.filter(asset__symbol=symbol, timestamp__gte=timezone.now() - LOOK_BACK)
    newest_first = prices.order_by("-timestamp", "-pk").values_list("price", flat=True)[:period]
    return [float(price) for price in newest_first][::-1]


def calculate(prices: list[float]) -> dict[str, float | None]:
    """Return the latest value of each indicator; None where the series is too short for one."""
    series = numpy.asarray(prices, dtype=numpy.float64)
    macd, signal, histogram = talib.MACD(series, fastperiod=12, slowperiod=26, signalperiod=9)
    upper, middle, lower = talib.BBANDS(series, timeperiod=20)
    return {
        "sma_20": _last(talib.SMA(series, timeperiod=20)),
        "sma_50": _last(talib.SMA(series, timeperiod=50)),
        "ema_12": _last(talib.EMA(series, timeperiod=12)),
        "ema_26": _last(talib.EMA(series, timeperiod=26)),
        "rsi_14": _last(talib.RSI(series, timeperiod=14)),
        "macd": _last(macd),
        "macd_signal": _last(signal),
        "macd_histogram": _last(histogram),
        "bollinger_upper": _last(upper),
        "bollinger_middle": _last(middle),
        "bollinger_lower": _last(lower),
    }


def refresh(symbol: str, prices: list[float]) -> dict[str, float | None]:
    """Compute a symbol's indicators and put them into the cache."""
    values = calculate(prices)
    get_cache().set(CACHE_KIND, symbol, values, CACHE_TIMEOUT_S)
    return values


def _last(series: Any) -> float | None:
    value = float(series[-1])
    return value if math.isfinite(value) else None
