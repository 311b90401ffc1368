"""Calls of the task libraries: sends, options, routes, compositions, mocks."""
