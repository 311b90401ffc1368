"""What is written, and how it is undone: writer, record, lock, other text files."""
