"""One file for each kind of parity check besides running cases; each yields comparisons, waived like those of cases.

A kind is a module of this folder with ``compare(context)``; its file name is its name.
"""
