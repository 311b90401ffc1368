"""Runs the steps: cutover, rollback, resume, status, complete, and single tasks of a plan."""
