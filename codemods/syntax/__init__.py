"""Parsing: one read of a file, its scopes, spans and diffs."""
