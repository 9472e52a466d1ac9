"""The synchronous client of a cluster."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

from broker_mesos.client.job import Job, Stream
from broker_mesos.client.names import new_job_id, user_name
from broker_mesos.client.reservations import ReservationCalls
from broker_mesos.client.spec import ArrayLike, Number, build_spec, made
from broker_mesos.client.transport import Transport, Unreachable, connect
from broker_mesos.core.api.agents import AgentGone, AgentView, MarkAgentGone
from broker_mesos.core.api.cells import CellPart, OfferView, TaskView
from broker_mesos.core.api.cluster import ClusterView, GetCluster
from broker_mesos.core.api.dead_letters import (
    DeadLetterDetail,
    DeadLetterList,
    DeadLettersSettled,
    DropDeadLetters,
    GetDeadLetter,
    ListDeadLetters,
    RetryDeadLetters,
)
from broker_mesos.core.api.explain import Explain, Explanation, PlanJob
from broker_mesos.core.api.files import LogChunk, ReadLog
from broker_mesos.core.api.frameworks import FrameworkReadmitted, ReadmitFramework
from broker_mesos.core.api.health import GetHealth, HealthView
from broker_mesos.core.api.jobs import (
    GetJobs,
    GetTask,
    JobList,
    JobSummary,
    JobTask,
    KillById,
    Killed,
    KillJob,
    SubmitJob,
    WaitJob,
)
from broker_mesos.core.api.maintenance import (
    ActivateAgents,
    AgentMaintenance,
    AgentsRequest,
    CancelMaintenance,
    DeactivateAgents,
    DrainAgents,
    GetMaintenance,
    MaintenanceView,
    ScheduleMaintenance,
)
from broker_mesos.core.api.request import Request
from broker_mesos.core.api.roles import ConfigView, GetConfig, RoleChange, SetPolicy, SetRoles
from broker_mesos.core.api.state import FrameworkTotal, GetState, RoleTotal, StateView
from broker_mesos.core.model.attributes import Constraint
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.part import Part
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.errors import TimedOut, Unavailable
from broker_mesos.runtime.settings import Settings, load

UNAVAILABLE_AFTER_SECONDS = 60.0
"""Seconds without any answer after which waiting and following end with Unavailable."""

_WAIT_TURN_SECONDS = 10.0
"""Seconds that one request of a longer wait may take."""
_SHORT_JOB_SECONDS = 5.0
"""Seconds after which a job that was not short is waited for by requests of its own."""
_ENDED = ("finished", "failed", "killed")
_TASK_ENDED = frozenset(state.short for state in TaskState if state.terminal)

P = TypeVar("P", bound=Part)


class Client(ReservationCalls):
    """Speaks to a cluster at ``url``: ``http://…``, or ``amqp://…`` for RabbitMQ itself.

    Without arguments: BMESOS_URL, else ``bmesos.toml``, else http://127.0.0.1:5050. ``timeout`` is the time
    limit of one answer in seconds. Connects with the first request. Errors are those of
    ``broker_mesos.errors``; an InvalidInput is raised before anything is sent, where that is possible.
    """

    def __init__(self, url: str | None = None, *, cluster: str | None = None, timeout: float = 5.0) -> None:
        settings: Settings = load(url=url, cluster=cluster)
        self.timeout = timeout
        self._transport: Transport = connect(settings.url.get_secret_value(), settings.cluster)
        self._contacted = False

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections. Jobs go on."""
        self._transport.close()

    def ask(self, request: Request, kind: type[P], timeout: float | None = None) -> P:
        """Any request of the operator API; ``kind`` is its ``ANSWER``."""
        answer = self._transport.request(request, self.timeout if timeout is None else timeout)
        self._contacted = True
        assert isinstance(answer, kind)
        return answer

    # -- jobs -----------------------------------------------------------------------------------------

    def submit(
        self,
        command: str | Sequence[str],
        *,
        name: str = "",
        cpus: Number = 1,
        mem: Number = 128,
        disk: Number | None = None,
        gpus: Number | None = None,
        resources: str | Resources | None = None,
        array: ArrayLike | None = None,
        env: Mapping[str, object] | None = None,
        retries: int = 0,
        rerun: bool = False,
        gang: bool = False,
        revocable: bool = False,
        priority: int = 0,
        constraints: str | Constraint | Iterable[str | Constraint] = (),
        prefer: str | Constraint | Iterable[str | Constraint] = (),
        prefer_hosts: str | Iterable[str] = (),
        locality_wait: Number | None = None,
        job_id: str | None = None,
    ) -> Job:
        """Submit a job: text for ``/bin/sh -c``, or a list of arguments that runs as it stands.

        ``mem`` and ``disk`` are megabytes or text such as ``2G``; ``array`` is a number of tasks (50: indices
        1 to 50), ``"0-9"`` or ``(0, 9)``; ``retries`` is attempts after the first; a higher ``priority`` goes
        first. An agent that matches any of ``prefer`` or ``prefer_hosts`` is waited for, ``locality_wait``
        seconds (5) or text such as ``500ms``, before any other is taken. Returns once the job is stored. Sent
        again within the time limit when the cluster is briefly away: the id makes one job of it; give
        ``job_id`` to repeat a submit of your own.
        """
        spec = build_spec(
            command,
            name=name,
            cpus=cpus,
            mem=mem,
            disk=disk,
            gpus=gpus,
            resources=resources,
            array=array,
            env=env,
            retries=retries,
            rerun=rerun,
            gang=gang,
            revocable=revocable,
            priority=priority,
            constraints=constraints,
            prefer=prefer,
            prefer_hosts=prefer_hosts,
            locality_wait=locality_wait,
            user=user_name(),
        )
        return self.submit_spec(spec, job_id)

    def submit_spec(self, spec: JobSpec, job_id: str | None = None) -> Job:
        """Submit a job that is described already."""
        request = made(SubmitJob, job_id=job_id or new_job_id(), spec=spec)
        self._store(request)
        return self.job(request.job_id)

    def run(self, command: str | Sequence[str], *, timeout: float | None = None, **options: Any) -> JobSummary:
        """Submit a job and wait for its end, in one request if it is short. ``options`` are those of
        ``submit``; ``timeout`` is that of ``wait``, and so is what is raised."""
        deadline = None if timeout is None else time.monotonic() + timeout
        job_id = options.pop("job_id", None) or new_job_id()
        spec = build_spec(command, user=user_name(), **options)
        turn = _SHORT_JOB_SECONDS if timeout is None else max(0.0, min(_SHORT_JOB_SECONDS, timeout))
        summary = self._store(made(SubmitJob, job_id=job_id, spec=spec, wait=turn))
        if summary.state in _ENDED:
            return summary
        return self.wait(job_id, None if deadline is None else max(0.0, deadline - time.monotonic()))

    def _store(self, request: SubmitJob) -> JobSummary:
        deadline = time.monotonic() + self.timeout
        pause = 0.1
        while True:
            left = deadline - time.monotonic()
            try:
                return self.ask(request, JobSummary, max(left, 0.1))
            except Unavailable as error:
                # Nothing there from the start is a wrong address rather than a failover.
                hopeless = isinstance(error, Unreachable) and not self._contacted
                if hopeless or deadline - time.monotonic() <= pause:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 1.0)

    def job(self, job_id: str) -> Job:
        """A handle; nothing is asked yet."""
        return Job(self, job_id)

    def jobs(self, limit: int = 50, active: bool = False) -> list[JobSummary]:
        """The latest jobs first; with ``active`` only those that have not ended."""
        return list(self.ask(made(GetJobs, limit=limit, active=active), JobList).jobs)

    def kill_job(self, job_id: str, index: int | None = None) -> JobSummary:
        """End a job, or one index of it. Idempotent."""
        return self.ask(made(KillJob, job_id=job_id, index=index), JobSummary)

    def wait(self, job_id: str, timeout: float | None = None) -> JobSummary:
        """See ``Job.wait``."""
        last: JobSummary | None = None
        for summary in self._follow(job_id, timeout, every_change=False):
            last = summary
        assert last is not None
        return last

    def watch(self, job_id: str, timeout: float | None = None) -> Iterator[JobSummary]:
        """See ``Job.watch``."""
        return self._follow(job_id, timeout, every_change=True)

    def _follow(self, job_id: str, timeout: float | None, *, every_change: bool) -> Iterator[JobSummary]:
        deadline = None if timeout is None else time.monotonic() + timeout
        patience = _UnavailableTimer(self)
        # Version -1: the first answer comes at once.
        seen: int | None = -1 if every_change else None
        while True:
            left = _WAIT_TURN_SECONDS if deadline is None else max(0.0, deadline - time.monotonic())
            request = made(WaitJob, job_id=job_id, seconds=min(_WAIT_TURN_SECONDS, left), seen=seen)
            try:
                summary = self.ask(request, JobSummary)
            except Unavailable as error:
                if deadline is not None and time.monotonic() >= deadline:
                    raise
                patience.bear(error)
                continue
            patience.renew()
            if summary.state in _ENDED:
                yield summary
                return
            if every_change:
                if summary.version != seen:
                    yield summary
                seen = summary.version
            if deadline is not None and time.monotonic() >= deadline:
                raise TimedOut(f"job {job_id} has not ended within {timeout:g} s; it goes on: `bmesos wait {job_id}`")

    # -- tasks ----------------------------------------------------------------------------------------

    def kill(self, ident: str) -> Killed:
        """End the job or task that has this id. Raises NotFound."""
        return self.ask(made(KillById, id=ident), Killed)

    def mark_agent_gone(self, agent_id: str) -> AgentGone:
        """End the tasks of an agent that never comes back. Idempotent. Raises NotFound."""
        return self.ask(made(MarkAgentGone, agent_id=agent_id), AgentGone)

    def readmit_framework(self, framework_id: str) -> FrameworkReadmitted:
        """Let the id of a framework that was torn down be used again. Raises NotFound."""
        return self.ask(made(ReadmitFramework, framework_id=framework_id), FrameworkReadmitted)

    # -- maintenance ----------------------------------------------------------------------------------

    def drain_agents(self, *agent_ids: str, grace: float | None = None, gone: bool = False) -> list[AgentMaintenance]:
        """Offer nothing of agents any more, and kill their tasks, each within ``grace`` seconds at most;
        with ``gone``, mark them as gone afterwards. Idempotent. Raises NotFound, before anything is done."""
        return self._maintain(made(DrainAgents, agent_ids=agent_ids, grace=grace, gone=gone))

    def activate_agents(self, *agent_ids: str) -> list[AgentMaintenance]:
        """Offer agents again. Idempotent. Raises NotFound."""
        return self._maintain(made(ActivateAgents, agent_ids=agent_ids))

    def deactivate_agents(self, *agent_ids: str) -> list[AgentMaintenance]:
        """Offer nothing of agents any more; their tasks live on. Idempotent. Raises NotFound."""
        return self._maintain(made(DeactivateAgents, agent_ids=agent_ids))

    def schedule_maintenance(
        self, *agent_ids: str, start: float, duration: float | None = None
    ) -> list[AgentMaintenance]:
        """Plan that agents are away from ``start`` (seconds since the epoch) for ``duration`` seconds, or
        for good. It replaces what was planned for them. Raises NotFound, InvalidInput."""
        return self._maintain(made(ScheduleMaintenance, agent_ids=agent_ids, start=start, duration=duration))

    def cancel_maintenance(self, *agent_ids: str) -> list[AgentMaintenance]:
        """Plan no absence of agents any more. Idempotent. Raises NotFound."""
        return self._maintain(made(CancelMaintenance, agent_ids=agent_ids))

    def maintenance(self, *agent_ids: str) -> MaintenanceView:
        """Agents that are drained, deactivated or planned to be away; or those that are named."""
        return self.ask(made(GetMaintenance, agent_ids=agent_ids), MaintenanceView)

    def _maintain(self, request: AgentsRequest) -> list[AgentMaintenance]:
        return list(self.ask(request, MaintenanceView).agents)

    # -- output ---------------------------------------------------------------------------------------

    def logs(self, task_id: str, stream: Stream = "stdout", follow: bool = False) -> Iterator[bytes]:
        """A task's output so far; with ``follow``, what comes until its end.

        ``task_id`` is a task's full id, ``JOB`` or ``JOB.INDEX``; these follow from attempt to attempt.
        """
        offset, current = 0, ""
        patience = _UnavailableTimer(self)
        while True:
            request = made(
                ReadLog,
                task_id=current or task_id,
                name=stream,
                offset=offset,
                wait=_WAIT_TURN_SECONDS if follow else 0.0,
            )
            try:
                chunk = self.ask(request, LogChunk)
                patience.renew()
                if chunk.agent_id:
                    current = chunk.task_id
                data = chunk.bytes()
                if data:
                    yield data
                    offset = chunk.offset + len(data)
                if chunk.ended and offset >= chunk.size:
                    if not follow or not self._attempt_after(task_id, current):
                        return
                    offset, current = 0, ""
                elif not data and not follow:
                    return
            except Unavailable as error:
                if not follow:
                    raise
                patience.bear(error)

    def _attempt_after(self, task_id: str, current: str) -> bool:
        """Whether another attempt follows one whose output has ended."""
        if not current or current == task_id:
            return False
        pause = 0.05
        while True:
            task = self.ask(GetTask(task_id=task_id), JobTask)
            if task.task_id != current:
                return task.state not in _TASK_ENDED or bool(task.agent_id)
            if task.state in _TASK_ENDED:
                return False
            # The agent's end of file is ahead of the status that says how the task ended.
            time.sleep(pause)
            pause = min(2 * pause, 1.0)

    # -- the cluster ----------------------------------------------------------------------------------

    def cluster(self) -> ClusterView:
        """Masters, and who owns which cell."""
        return self.ask(GetCluster(), ClusterView)

    def state(
        self,
        *parts: CellPart,
        task_id: str = "",
        framework_id: str = "",
        agent_id: str = "",
        limit: int = 500,
        after: str = "",
    ) -> StateView:
        """Parts of all cells together; its ``missing`` names cells that did not answer.

        It has at most ``limit`` (2,000) entries of a part; ``counts`` has the whole sizes, and ``truncated``
        the parts that are cut. For the next page of one part, give its ``after``.
        """
        request = made(
            GetState,
            parts=parts,
            task_id=task_id,
            framework_id=framework_id,
            agent_id=agent_id,
            limit=limit,
            after=after,
        )
        return self.ask(request, StateView)

    def _pages(self, part: CellPart) -> Iterator[StateView]:
        after = ""
        while True:
            page = self.state(part, limit=2_000, after=after)
            yield page
            after = page.after
            if not after:
                return

    def agents(self) -> list[AgentView]:
        """All agents of the cells that answer (see :meth:`state`)."""
        return [each for page in self._pages("agents") for each in page.agents]

    def frameworks(self) -> list[FrameworkTotal]:
        """All frameworks, over the cells that answer."""
        return [each for page in self._pages("frameworks") for each in page.frameworks]

    def tasks(self) -> list[TaskView]:
        """The tasks of all frameworks: those that run, then those that ended lately."""
        # A task that ends between two pages is on both: what was seen last counts.
        return list({each.task_id: each for page in self._pages("tasks") for each in page.tasks}.values())

    def offers(self) -> list[OfferView]:
        """The open offers."""
        return [each for page in self._pages("offers") for each in page.offers]

    def roles(self) -> list[RoleTotal]:
        """The roles, over the cells that answer."""
        return list(self.state("roles").roles)

    # -- why ------------------------------------------------------------------------------------------

    def explain(self, ident: str, agents: int = 20) -> Explanation:
        """Why a job, a task or a framework waits; up to ``agents`` agents of each cell. Raises NotFound."""
        return self.ask(made(Explain, id=ident, limit=agents), Explanation)

    def plan(self, spec: JobSpec, agents: int = 20) -> Explanation:
        """Whether a job would run if it were submitted now; it is not."""
        return self.ask(made(PlanJob, spec=spec, limit=agents), Explanation)

    # -- how it is divided ----------------------------------------------------------------------------

    def config(self) -> ConfigView:
        """Policy, weights and quota, as operators have set them."""
        return self.ask(GetConfig(), ConfigView)

    def set_roles(
        self,
        roles: Mapping[str, RoleChange | Mapping[str, object]],
        *,
        force: bool = False,
        version: int | None = None,
    ) -> ConfigView:
        """Change several roles at once, all or none: ``{"eng": {"weight": 2, "limit": "cpus:8"}}``.

        What is not named stays; ``{"clear": ["limit"]}`` unsets. Idempotent. Raises InvalidInput;
        Conflict for what only ``force`` allows, or if what is set has another ``version``.
        """
        return self.ask(made(SetRoles, roles=dict(roles), force=force, version=version), ConfigView)

    def set_policy(
        self, policy: str = "", *, exclude: Iterable[str] | None = None, version: int | None = None
    ) -> ConfigView:
        """Divide by another policy, or count other resources. Idempotent. Raises InvalidInput, Conflict."""
        excluded = None if exclude is None else tuple(exclude)
        return self.ask(made(SetPolicy, policy=policy, exclude=excluded, version=version), ConfigView)

    # -- what goes wrong ------------------------------------------------------------------------------

    def health(self) -> HealthView:
        """How the masters find their servers, and the cells' queues."""
        return self.ask(GetHealth(), HealthView)

    def dead_letters(self, limit: int = 100, after: str = "") -> DeadLetterList:
        """Messages that could not be handled, the oldest first, behind the letter ``after``."""
        return self.ask(made(ListDeadLetters, limit=limit, after=after), DeadLetterList)

    def dead_letter(self, letter_id: str) -> DeadLetterDetail:
        """One of them with its body. Raises NotFound."""
        return self.ask(made(GetDeadLetter, letter_id=letter_id), DeadLetterDetail)

    def retry_dead_letters(self, letter_id: str = "") -> DeadLettersSettled:
        """Send one (or all there are) again to where it came from. Raises NotFound, Conflict."""
        return self.ask(made(RetryDeadLetters, letter_id=letter_id), DeadLettersSettled)

    def drop_dead_letters(self, letter_id: str = "") -> DeadLettersSettled:
        """Remove one (or all there are) for good. Raises NotFound."""
        return self.ask(made(DropDeadLetters, letter_id=letter_id), DeadLettersSettled)


class _UnavailableTimer:
    """Bears lost connections, until nobody has answered for too long."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.renew()

    def renew(self) -> None:
        """There was an answer."""
        self._since = time.monotonic()
        self._pause = 0.1

    def bear(self, error: Unavailable) -> None:
        """Waits a little, or raises the error."""
        if isinstance(error, Unreachable) and not self._client._contacted:
            raise error
        if time.monotonic() - self._since > UNAVAILABLE_AFTER_SECONDS:
            raise error
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, 2.0)
