"""What steps share: processes, hooks, commits, the record of the downtime."""
