"""The reports of a parity run: HTML, JSON, JUnit XML, GitHub annotations and summary."""
