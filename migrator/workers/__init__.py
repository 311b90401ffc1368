"""Ways to run the plan's processes: start, recognise, drain and stop them, always by pid and start time."""
