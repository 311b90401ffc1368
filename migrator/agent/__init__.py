"""What runs in the project's interpreter: sides of a comparison, probes, warm management commands.

The host project is imported only here, never in the tool's process. A side of a comparison has its own database files,
cache, clock, broker and view of the network; it takes runs as JSON lines and answers each with an observation. Nothing
here imports anything else of ours; :mod:`migrator.agent.start` says how it is loaded.
"""
