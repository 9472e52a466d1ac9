"""How messages travel: the names on the broker, and the Bus over RabbitMQ or inside one process."""
