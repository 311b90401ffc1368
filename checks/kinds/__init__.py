"""One file a kind of parity besides running cases; each yields comparisons, judged by the same waivers.

A kind is a module of this folder with ``compare(context)``; its file name is its name.
"""
