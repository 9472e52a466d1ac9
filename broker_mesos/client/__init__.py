"""The Python client: ``Client(url).submit(...)``. Synchronous; safe to share between threads."""

from __future__ import annotations

from broker_mesos.client.client import Client
from broker_mesos.client.job import Job

__all__ = ["Client", "Job"]
