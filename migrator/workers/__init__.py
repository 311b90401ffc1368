"""Start, recognise, drain and stop the plan's processes, always by pid and start time."""
