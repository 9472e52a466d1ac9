"""Enrolment: the server that gives each new agent a user on RabbitMQ, and takes it from those that are gone."""
