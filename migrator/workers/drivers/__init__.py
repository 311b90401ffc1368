"""One module for each way to run a process: our own child, supervisor, systemd."""
