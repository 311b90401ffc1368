"""The transfer from, to or between RabbitMQ brokers."""
