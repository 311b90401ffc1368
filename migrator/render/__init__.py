"""Renderers, one file per format. They return strings; the command line prints them."""
