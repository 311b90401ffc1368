"""The report for people and for machines: HTML, JSON, JUnit, SARIF, GitHub."""
