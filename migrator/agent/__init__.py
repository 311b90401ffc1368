"""What runs in the project's interpreter: the processes that parity compares, probes, the manage server.

The host project is imported only here, never in the tool's process. A control or candidate process has its own
database files, cache, clock, broker and view of the network; it takes runs as JSON lines and answers each with an
observation. Nothing here imports anything else of ours; :mod:`migrator.agent.start` describes how it is loaded.
"""
