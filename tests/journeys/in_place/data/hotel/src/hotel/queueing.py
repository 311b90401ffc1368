"""How we declare background work."""

MINUTES = 60 * 1000


def defaults(**extra):
    """The options that all our actors share."""
    return {"max_retries": 8, "min_backoff": 1000, "max_backoff": 10 * MINUTES, **extra}
