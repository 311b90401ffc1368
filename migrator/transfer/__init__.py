"""Moves messages between the legacy queues and the unified one."""
