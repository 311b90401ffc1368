"""The transfer where both ends are on Redis."""
