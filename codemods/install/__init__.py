"""What a rewrite adds to a project: the unified app, and migrations for beat rows."""
