"""Edits of one file: spans that change, statements, literals, comments, imports."""
