"""A rewrite's report in the formats that other tools read; each returns a string."""

from codemods.formats.github import as_github
from codemods.formats.json import as_json
from codemods.formats.sarif import as_sarif

__all__ = ["as_github", "as_json", "as_sarif"]
