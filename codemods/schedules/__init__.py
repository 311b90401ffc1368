"""Triggers of every scheduler, and the source text of the entry that takes their place."""
