"""broker_mesos: Mesos rebuilt on RabbitMQ and Redis."""

from __future__ import annotations

__version__ = "0.1.0"
