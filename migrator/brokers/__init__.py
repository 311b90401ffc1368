"""Brokers: one module for each wire format on a server. Nothing outside this package knows the name of a key."""
