"""One side of a comparison, in a process of its own (``python -P -m checks.side``).

The host project is imported only here, never in the tool's process. A side has its own database files, cache,
clock, broker and view of the network; it takes runs as JSON lines and answers each with an observation.
"""
