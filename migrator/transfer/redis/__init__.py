"""The transfer between Redis servers."""
