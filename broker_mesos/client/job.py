"""The handle of a submitted job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeVar

from broker_mesos.client.jobs import Stream
from broker_mesos.client.requests import made
from broker_mesos.core.api.jobs import GetJob, JobSummary, JobTask, JobView
from broker_mesos.core.api.request import Request
from broker_mesos.core.model.part import Part

_PAGE = 1_000
P = TypeVar("P", bound=Part)


class JobCalls(Protocol):
    """What a job's handle needs of a client."""

    def ask(self, request: Request, kind: type[P]) -> P:
        """Any request of the operator API."""
        ...

    def wait(self, job_id: str, timeout: float | None = None) -> JobSummary:
        """See :meth:`Job.wait`."""
        ...

    def watch(self, job_id: str, timeout: float | None = None) -> Iterator[JobSummary]:
        """See :meth:`Job.watch`."""
        ...

    def logs(self, task_id: str, stream: Stream = "stdout", follow: bool = False) -> Iterator[bytes]:
        """See :meth:`Job.logs`."""
        ...

    def kill_job(self, job_id: str, index: int | None = None) -> JobSummary:
        """See :meth:`Job.kill`."""
        ...


class Job:
    """A handle: it holds the id alone, so that it can be made anew anywhere with ``client.job(id)``."""

    def __init__(self, client: JobCalls, job_id: str) -> None:
        self._client = client
        self.id = job_id

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def status(self) -> JobSummary:
        """Where it stands. Raises NotFound."""
        return self.view(limit=0).summary

    def view(self, *, offset: int = 0, limit: int = 100, states: tuple[str, ...] = ()) -> JobView:
        """Where it stands, its description, and up to ``limit`` (at most 1,000) of its tasks."""
        request = made(GetJob, job_id=self.id, offset=offset, limit=limit, states=states)
        return self._client.ask(request, JobView)

    def wait(self, timeout: float | None = None) -> JobSummary:
        """Wait until it has ended; the summary has the exit code.

        Rides out lost connections. Raises TimedOut after ``timeout`` seconds (the job goes on), and
        Unavailable when the cluster has not answered for a minute.
        """
        return self._client.wait(self.id, timeout)

    def watch(self, timeout: float | None = None) -> Iterator[JobSummary]:
        """Its summary now, after every change (a few times a second at most), and last once it has ended."""
        return self._client.watch(self.id, timeout)

    def tasks(self, *states: str) -> Iterator[JobTask]:
        """The latest attempt at every index, in order; of these states only, if any are given."""
        offset: int | None = 0
        while offset is not None:
            page = self.view(offset=offset, limit=_PAGE, states=states)
            yield from page.tasks
            offset = page.more

    def logs(self, index: int | None = None, stream: Stream = "stdout", follow: bool = False) -> Iterator[bytes]:
        """Output of its task, or of one task of an array; see ``Client.logs``."""
        return self._client.logs(self.id if index is None else f"{self.id}.{index}", stream, follow)

    def kill(self) -> JobSummary:
        """End it: what waits never runs, what runs is killed. Idempotent."""
        return self._client.kill_job(self.id)
