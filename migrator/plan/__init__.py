"""The plan, ``migration.toml``: its values, and how it is read and checked."""
