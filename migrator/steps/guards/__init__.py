"""Guards of the preflight: one file a subject. Each looks, changes nothing, and reports everything that it sees."""
