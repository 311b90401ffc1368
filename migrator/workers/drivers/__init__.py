"""One file a way to run a process: our own child, supervisor, systemd."""
