"""The transfer where an end is on RabbitMQ."""
