"""What the source says about brokers, queues, options and times, read without importing it."""
