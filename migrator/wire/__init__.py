"""Message formats of Dramatiq, Celery and kombu, without a broker."""
