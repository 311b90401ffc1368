"""Where a file uses a legacy task, and what happens to the objects it is put into."""
