"""The command line: each module parses arguments, calls one function, renders and exits. Nothing else prints."""

from migrator.cli.main import main

__all__ = ["main"]
