"""The whole migration on the sample project: cutover, rollback, cutover again, every message accounted for by id."""
