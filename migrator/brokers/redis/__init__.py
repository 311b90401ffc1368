"""The queues of Dramatiq and Celery on Redis, and how they are read."""
