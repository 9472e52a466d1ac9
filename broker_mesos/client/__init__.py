"""The Python client: ``Client(url).submit(...)``. Synchronous; safe to share between threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from broker_mesos.client.client import Client
    from broker_mesos.client.job import Job

__all__ = ["Client", "Job"]


def __getattr__(name: str) -> Any:
    # The parts that need no pydantic (`jobs`) can be imported without it.
    if name in __all__:
        from broker_mesos.client.client import Client
        from broker_mesos.client.job import Job

        return {"Client": Client, "Job": Job}[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
