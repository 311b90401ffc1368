"""Brokers: one module a wire format on a server. Nothing outside of this package knows a key's name."""
