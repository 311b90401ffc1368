"""The tool's side of the conversation with the project's interpreter."""
