"""A cluster that exists only as far as the operator API shows it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import threading
from collections.abc import Callable, Iterator

from broker_mesos.core.api.agents import AgentView
from broker_mesos.core.api.cells import CellLoad
from broker_mesos.core.api.cluster import CellOwnership, ClusterView, GetCluster, MasterView
from broker_mesos.core.api.files import LogChunk, ReadLog
from broker_mesos.core.api.jobs import (
    GetJob,
    GetJobs,
    GetTask,
    JobList,
    JobSummary,
    JobTask,
    JobView,
    KillById,
    Killed,
    SubmitJob,
    WaitJob,
)
from broker_mesos.core.api.request import Request
from broker_mesos.core.api.state import GetState, MissingCell, StateView
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.part import Part
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.records import AgentStatus
from broker_mesos.errors import Conflict, NotFound
from broker_mesos.operator.gateway import OperatorApi
from broker_mesos.web import WebServer


class FakeCluster:
    """Every job has ended by the time anybody asks: index by index with the codes of ``exit_codes``."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.timeouts: list[float] = []
        self.specs: dict[str, JobSpec] = {}
        self.exit_codes: dict[int, int] = {}
        self.output = {"stdout": b"out\n", "stderr": b"err\n"}
        self.unowned = 1
        """Cells without an owner."""
        self.missing: tuple[MissingCell, ...] = ()
        self.failing: dict[str, Exception] = {}
        """What to raise instead of an answer, by type of request."""
        self.failing_times: dict[str, int] = {}
        """How often; always if it is not here."""
        self.agent: dict[str, object] = {}
        """Further fields of its one agent."""
        self.on_kill: Callable[[str], None] = lambda job_id: None

    async def handle(self, request: Request, timeout: float = 5.0) -> Part:
        self.asked.append(request)
        self.timeouts.append(timeout)
        left = self.failing_times.get(request.TYPE, 1)
        if request.TYPE in self.failing and left:
            if request.TYPE in self.failing_times:
                self.failing_times[request.TYPE] = left - 1
            raise self.failing[request.TYPE]
        match request:
            case SubmitJob(job_id=job_id, spec=spec):
                if self.specs.setdefault(job_id, spec) != spec:
                    raise Conflict(f"job {job_id} exists already, and differs")
                return self.summary(job_id)
            case WaitJob(job_id=job_id):
                return self.summary(job_id)
            case GetJob(job_id=job_id, offset=offset, limit=limit, states=states):
                summary = self.summary(job_id)
                tasks = [task for task in self.tasks(job_id) if not states or task.state in states]
                page = tuple(tasks[offset : offset + limit])
                more = offset + limit if limit and offset + limit < len(tasks) else None
                return JobView(summary=summary, spec=self.specs[job_id], tasks=page, more=more)
            case GetJobs(limit=limit):
                jobs = tuple(self.summary(job_id) for job_id in reversed(self.specs))
                return JobList(jobs=jobs[:limit], total=len(jobs))
            case GetTask(task_id=task_id):
                job_id = task_id.split(".")[0]
                for task in self.tasks(job_id) if job_id in self.specs else ():
                    if task.task_id == task_id or task.task_id.startswith(f"{task_id}."):
                        return task
                raise NotFound(f"no task {task_id}")
            case KillById(id=ident):
                self.on_kill(ident)
                return Killed(kind="job", job=self.summary(ident))
            case ReadLog(task_id=task_id, name=name, offset=offset, length=length):
                self.summary(task_id.split(".")[0])
                whole = self.output[name]
                data = base64.b64encode(whole[offset : offset + length]).decode()
                full = task_id if task_id.count(".") == 2 else f"{task_id}.0.1"
                return LogChunk(task_id=full, agent_id="a1", data=data, offset=offset, size=len(whole), ended=True)
            case GetCluster():
                master = MasterView(master_id="m1", hostname="h", pid=11, version="0", age=0.5)
                cells = (
                    CellOwnership(cell=0, owner="m1", pid=11, hostname="h", term=42, age=0.1),
                    CellOwnership(cell=1, owner="", term=7, age=9),
                )[: 1 + self.unowned]
                return ClusterView(cluster="default", version="0", masters=(master,), cells=cells)
            case GetState():
                agent = AgentView(
                    agent_id="a1",
                    cell=0,
                    hostname="h\x1b[31m",
                    state=AgentStatus.REGISTERED,
                    total=Resources.parse("cpus:4;mem:4096;ports:[31000-31009]"),
                    offered=Resources.parse("cpus:1"),
                    used=Resources.parse("cpus:2;mem:1024"),
                    attributes={"rack": "r1"},
                    **self.agent,
                )
                agents = (agent,) if "agents" in request.parts and request.agent_id in ("", "a1") else ()
                load = CellLoad(cell=0, behind=0.0, decisions=9, rounds=4, round_p50=0.0011, round_p99=0.0042)
                return StateView(agents=agents, counts={"agents": 1}, loads=(load,), missing=self.missing)
        raise AssertionError(request)

    def tasks(self, job_id: str) -> list[JobTask]:
        first, last = self.specs[job_id].array or (0, 0)
        return [
            JobTask(
                task_id=f"{job_id}.{index}.1",
                index=index,
                attempt=1,
                state="failed" if self.exit_codes.get(index) else "finished",
                exit_code=self.exit_codes.get(index, 0),
                agent_id="a1",
                started_at=1.0,
                ended_at=2.0,
            )
            for index in range(first, last + 1)
        ]

    def summary(self, job_id: str) -> JobSummary:
        if job_id not in self.specs:
            raise NotFound(f"no job {job_id}; `bmesos status` lists them")
        tasks = self.tasks(job_id)
        failed = [task for task in tasks if task.exit_code]
        return JobSummary(
            job_id=job_id,
            name=self.specs[job_id].name,
            state="failed" if failed else "finished",
            total=len(tasks),
            counts={"finished": len(tasks) - len(failed), "failed": len(failed)},
            exit_code=failed[0].exit_code if failed else 0,
            submitted_at=1.0,
            ended_at=2.0,
        )


class Stage:
    """Whatever cluster is put on it, behind one server: to start one for each test takes long."""

    def __init__(self) -> None:
        self.cluster: OperatorApi = FakeCluster()
        self.url = ""

    async def handle(self, request: Request, timeout: float = 5.0) -> Part:
        return await self.cluster.handle(request, timeout)


@contextlib.contextmanager
def serving(cluster: OperatorApi) -> Iterator[str]:
    """The cluster behind a real HTTP server in a thread; yields its URL."""
    started = threading.Event()
    found: dict[str, object] = {}

    async def main() -> None:
        server = WebServer(cluster, port=0)
        task = asyncio.create_task(server.run())
        await server.ready.wait()
        found.update(url=server.url, loop=asyncio.get_running_loop(), task=task)
        started.set()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert started.wait(10), "the server did not start"
    try:
        yield str(found["url"])
    finally:
        loop, task = found["loop"], found["task"]
        assert isinstance(loop, asyncio.AbstractEventLoop) and isinstance(task, asyncio.Task)
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)
        assert not thread.is_alive(), "the server did not stop"
