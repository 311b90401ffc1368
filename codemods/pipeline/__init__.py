"""From files to outcomes: prefilter, process pool, one file, the whole project."""
