"""The Bus over RabbitMQ or inside one process, and the names of exchanges and queues on the broker."""
