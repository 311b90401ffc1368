"""Seeded randomness: random numbers are the same in every run of a case."""

from __future__ import annotations

import random
import sys


def seed_randomness(seed: int) -> None:
    """Seed the generators that all code shares."""
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
