"""What lies in ``.migrator``: journal, lock, proof, progress, snapshot files."""
