"""What is written, and how it is taken back: writer, record, lock, other text files."""
