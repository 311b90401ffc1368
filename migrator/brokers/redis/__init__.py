"""What Dramatiq and Celery keep on Redis, and how it is read."""
