"""What Dramatiq and Celery keep on RabbitMQ, and how it is read."""
