"""One file a rewrite, nothing else; found by walking the folder."""
