"""How long a request asks its answer to be held back."""

from __future__ import annotations

from broker_mesos.core.api.files import ReadLog
from broker_mesos.core.api.jobs import SubmitJob, WaitJob
from broker_mesos.core.api.request import Request


def waits(request: Request) -> float:
    """Seconds that a request itself asks its answer to be held back at most; time limits come on top."""
    if isinstance(request, WaitJob):
        return request.seconds
    return request.wait if isinstance(request, ReadLog | SubmitJob) else 0.0
