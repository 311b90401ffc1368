"""The whole migration on the sample project: legacy, forward, back and forward again, accounted for by id."""
