"""Runs of cases: control and candidate processes, through a broker or in one process."""
