"""The plan as rewrites need it: an index of names, policies, reason codes."""
