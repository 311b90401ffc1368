"""What an expression refers to: names, constants, items of containers."""
