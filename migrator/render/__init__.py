"""Renderers, one file a format. They return strings; the command line prints them."""
