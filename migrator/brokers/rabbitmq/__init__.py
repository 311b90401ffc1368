"""The queues of Dramatiq and Celery on RabbitMQ, and how they are read."""
