"""The client's calls for what a dashboard shows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TypeVar

from broker_mesos.client.requests import made
from broker_mesos.core.api.agent_table import AgentColumns, GetAgents
from broker_mesos.core.api.doctor import DoctorReport, GetDoctor
from broker_mesos.core.api.events import EventList, GetEvents
from broker_mesos.core.api.files import FolderView, ListFiles, LogChunk, ReadSandboxFile
from broker_mesos.core.api.history import GetHistory, HistoryView, Series
from broker_mesos.core.api.overview import GetOverview, Overview
from broker_mesos.core.api.request import Request
from broker_mesos.core.api.search import Matches, Search
from broker_mesos.core.api.timeline import MAX_TIMELINE, GetTimeline, Timeline
from broker_mesos.core.api.waiting import GetWaitingJobs, WaitingJobs
from broker_mesos.core.model.part import Part

P = TypeVar("P", bound=Part)


class ViewCalls(ABC):
    """Reads what a dashboard shows. Every answer is bounded, and says what it leaves out."""

    @abstractmethod
    def ask(self, request: Request, kind: type[P], timeout: float | None = None) -> P:
        """Any request of the operator API."""

    def agent_table(self, *, filter: str = "", sort: str = "host", limit: int = 5_000, after: str = "") -> AgentColumns:
        """A page of the agents as columns, in the order of a column such as ``-cpus``. ``filter`` is such as
        ``rack:r07 state!=ready``; for the next page give its ``after``. Raises InvalidInput."""
        return self.ask(made(GetAgents, filter=filter, sort=sort, limit=limit, after=after), AgentColumns)

    def agent_changes(self, token: str = "", limit: int = 5_000) -> AgentColumns:
        """The agents that have changed since the answer with this token, at first all of them. Ask again at once while
        it has ``more``. Raises InvalidInput."""
        return self.ask(made(GetAgents, follow=True, changed_since=token, limit=limit), AgentColumns)

    def overview(self) -> Overview:
        """The numbers of the cluster: agents, tasks, frameworks and jobs, resources, and what tasks wait for."""
        return self.ask(GetOverview(), Overview)

    def events(self, *, after: str = "", before: str = "", kinds: Iterable[str] = (), limit: int = 100) -> EventList:
        """What has happened behind the event ``after``, in order, or the latest events. ``kinds`` are such as ``agent``
        or ``task.failed``. Raises Unavailable."""
        request = made(GetEvents, after=after, before=before, kinds=tuple(kinds), limit=limit)
        return self.ask(request, EventList)

    def timeline(self, job_id: str, limit: int = MAX_TIMELINE) -> Timeline:
        """When and where the tasks of a job ran, as columns; of a large job, tasks from all over its array. Raises
        NotFound."""
        return self.ask(made(GetTimeline, job_id=job_id, limit=limit), Timeline)

    def waiting_jobs(self) -> WaitingJobs:
        """How many jobs and tasks wait, by the reason."""
        return self.ask(GetWaitingJobs(), WaitingJobs)

    def files(self, task_id: str, path: str = "", *, after: str = "", limit: int = 500) -> FolderView:
        """A page of a folder in the sandbox of a task. Raises NotFound, InvalidInput."""
        return self.ask(made(ListFiles, task_id=task_id, path=path, after=after, limit=limit), FolderView)

    def read_file(self, task_id: str, name: str, offset: int = 0, length: int = 65_536) -> bytes:
        """Up to 64 KiB of a file in the sandbox of a task; a negative offset counts from its end. Raises NotFound,
        InvalidInput."""
        request = made(ReadSandboxFile, task_id=task_id, name=name, offset=offset, length=length)
        return self.ask(request, LogChunk).bytes()

    def doctor(self) -> DoctorReport:
        """What is wrong with the cluster and its servers, as far as its daemons report it."""
        return self.ask(GetDoctor(), DoctorReport)

    def search(self, prefix: str, limit: int = 20) -> Matches:
        """Agents, frameworks, roles, jobs and tasks whose id, host or name begins with a text."""
        return self.ask(made(Search, prefix=prefix, limit=limit), Matches)

    def cluster_history(
        self, series: Series = "10s", *, since: float = 0.0, until: float | None = None, points: int = 360
    ) -> HistoryView:
        """Sums and shares by role over time, between two times in seconds since the epoch. Raises Unavailable."""
        return self.ask(made(GetHistory, series=series, since=since, until=until, points=points), HistoryView)
