"""All waiting messages to a file, and back."""
