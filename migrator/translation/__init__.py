"""Translate legacy messages to unified ones and back: pure functions of a message, without a server."""
