"""The synchronous client of a cluster."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar, Unpack

from pydantic import ValidationError

from broker_mesos.client.exec_session import ExecSession
from broker_mesos.client.job import Job
from broker_mesos.client.jobs import ENDED, JobClient, Json, Stream
from broker_mesos.client.names import new_job_id, user_name
from broker_mesos.client.options import JobOptions
from broker_mesos.client.requests import made
from broker_mesos.client.reservations import ReservationCalls
from broker_mesos.client.spec import build_spec
from broker_mesos.client.views import ViewCalls
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
from broker_mesos.core.api.enrolment import AgentForgotten, ForgetAgent
from broker_mesos.core.api.exec import StartExec
from broker_mesos.core.api.explain import Explain, Explanation, PlanJob
from broker_mesos.core.api.files import ReadLog
from broker_mesos.core.api.frameworks import (
    FrameworkReadmitted,
    FrameworkTornDown,
    ReadmitFramework,
    TearDownFramework,
)
from broker_mesos.core.api.health import GetHealth, HealthView
from broker_mesos.core.api.jobs import (
    GetJobs,
    JobList,
    JobState,
    JobSummary,
    KillById,
    Killed,
    KillJob,
    KillJobs,
    RetryJob,
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
from broker_mesos.core.api.story import GetStory, StoryView
from broker_mesos.core.api.whoami import Identity, WhoAmI
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.wire import first_problem
from broker_mesos.errors import BrokerMesosError, InvalidInput

_SHORT_JOB_SECONDS = 5.0
"""Seconds after which a job that was not short is waited for by requests of its own."""

P = TypeVar("P", bound=Part)


class Client(JobClient, ReservationCalls, ViewCalls):
    """Speaks to a cluster at ``url``: ``http://…``, or ``amqp://…`` for RabbitMQ itself.

    Without arguments: BMESOS_URL, else ``bmesos.toml``, else http://127.0.0.1:5050. ``timeout`` is the time
    limit of one answer in seconds. ``tls_ca``, ``tls_cert``, ``tls_key`` and ``insecure_plaintext`` are the settings
    of these names (``bmesos.toml``, BMESOS_TLS_CA and so on). Connects with the first request. Errors are those of
    ``broker_mesos.errors``; an InvalidInput is raised before anything is sent, where that is possible.
    """

    def __enter__(self) -> Client:
        return self

    def ask(self, request: Request, kind: type[P], timeout: float | None = None) -> P:
        """Any request of the operator API; ``kind`` is its ``ANSWER``."""
        fields = request.model_dump(mode="json", exclude_defaults=True)
        return _read(kind, self.call(request.TYPE, fields, timeout, request.wait_seconds))

    def whoami(self) -> Identity:
        """Who the cluster takes this client for, and what it may do."""
        return self.ask(WhoAmI(), Identity)

    # -- jobs -----------------------------------------------------------------------------------------

    def submit(self, command: str | Sequence[str], *, job_id: str | None = None, **options: Unpack[JobOptions]) -> Job:
        """Submit a job: text for ``/bin/sh -c``, or a list of arguments that runs as it stands.

        ``options`` are those of :class:`JobOptions`. ``mem`` and ``disk`` are megabytes or text such as
        ``2G``; ``array`` is a number of tasks (50: indices 1 to 50), ``"0-9"`` or ``(0, 9)``; ``retries`` is
        attempts after the first; a higher ``priority`` goes first. An agent that matches any of ``prefer`` or
        ``prefer_hosts`` is waited for, ``locality_wait`` seconds (5) or text such as ``500ms``, before any
        other is taken. ``stdin`` is bytes, or the name of a file here. Returns once the job is stored. Sent
        again within the time limit when the cluster is briefly away: the id makes one job of it; give
        ``job_id`` to repeat a submit of your own.
        """
        return self.submit_spec(build_spec(command, user_name(), **options), job_id)

    def submit_spec(self, spec: JobSpec, job_id: str | None = None) -> Job:
        """Submit a job that is described already."""
        request = made(SubmitJob, job_id=job_id or new_job_id(), spec=spec)
        self.store(request.job_id, _json_of(spec))
        return self.job(request.job_id)

    def run(
        self,
        command: str | Sequence[str],
        *,
        timeout: float | None = None,
        job_id: str | None = None,
        **options: Unpack[JobOptions],
    ) -> JobSummary:
        """Submit a job and wait for its end, in one request if it is short. ``options`` are those of
        ``submit``; ``timeout`` is that of ``wait``, and so is what is raised."""
        deadline = None if timeout is None else time.monotonic() + timeout
        spec = build_spec(command, user_name(), **options)
        turn = _SHORT_JOB_SECONDS if timeout is None else max(0.0, min(_SHORT_JOB_SECONDS, timeout))
        request = made(SubmitJob, job_id=job_id or new_job_id(), spec=spec, wait=turn)
        summary = _read(JobSummary, self.store(request.job_id, _json_of(spec), turn))
        if summary.state in ENDED:
            return summary
        return self.wait(request.job_id, None if deadline is None else max(0.0, deadline - time.monotonic()))

    def job(self, job_id: str) -> Job:
        """A handle; nothing is asked yet."""
        return Job(self, job_id)

    def jobs(self, limit: int = 50, active: bool = False) -> list[JobSummary]:
        """The latest jobs first; with ``active`` only those that have not ended."""
        return list(self.ask(made(GetJobs, limit=limit, active=active), JobList).jobs)

    def history(
        self,
        *,
        states: Iterable[JobState] = (),
        name: str = "",
        user: str = "",
        role: str = "",
        since: float | None = None,
        until: float | None = None,
        limit: int = 50,
        after: int | None = None,
    ) -> JobList:
        """Jobs that have ended, the latest submitted first: in these states, with a name that matches a pattern
        such as ``train-*``, of this user, of this role or one below it, ended between these times in seconds since the
        epoch. If it is ``truncated``, its ``after`` is that of the next page."""
        chosen = {"states": tuple(states), "name": name, "user": user, "role": role}
        which = {"kind": "ended", **chosen, "since": since, "until": until, "after": after}
        return self.ask(made(GetJobs, limit=limit, which=which), JobList)

    def retry(self, job_id: str) -> JobSummary:
        """Run the failed tasks of an ended job again, under the same ids. Raises NotFound, and Conflict if it has
        not ended or has no failed task."""
        return self.ask(made(RetryJob, job_id=job_id), JobSummary)

    def kill_jobs(
        self,
        *,
        states: Iterable[JobState] = (),
        name: str = "",
        user: str = "",
        role: str = "",
        only_list: bool = False,
    ) -> list[str]:
        """End the jobs that match and have not ended, and return their ids; with ``only_list`` nothing is ended.
        A filter is as that of :meth:`history`; ``name="*"`` is all of them. Raises InvalidInput without any."""
        states = tuple(states)
        if not (states or name or user or role):
            raise InvalidInput('choose jobs by states, name, user or role; name="*" is all of them')
        which = {"states": states, "name": name, "user": user, "role": role}
        made(KillJobs, which=which)
        return self.matching_killed(which, only_list)

    def kill_job(self, job_id: str, index: int | None = None) -> JobSummary:
        """End a job, or one index of it. Idempotent."""
        return self.ask(made(KillJob, job_id=job_id, index=index), JobSummary)

    def wait(self, job_id: str, timeout: float | None = None) -> JobSummary:
        """See ``Job.wait``."""
        return _read(JobSummary, self.end_of(_checked(job_id), timeout))

    def watch(self, job_id: str, timeout: float | None = None) -> Iterator[JobSummary]:
        """See ``Job.watch``."""
        return (_read(JobSummary, summary) for summary in self.changes(_checked(job_id), timeout))

    # -- tasks ----------------------------------------------------------------------------------------

    def kill(self, ident: str) -> Killed:
        """End the job or task that has this id. Raises NotFound."""
        return self.ask(made(KillById, id=ident), Killed)

    def mark_agent_gone(self, agent_id: str) -> AgentGone:
        """End the tasks of an agent that never comes back. Idempotent. Raises NotFound."""
        return self.ask(made(MarkAgentGone, agent_id=agent_id), AgentGone)

    def forget_agent(self, agent_id: str) -> AgentForgotten:
        """Delete the user of an agent on the broker, and let its id be enrolled again. Raises NotFound if there is
        nothing to forget, and Unavailable if the cluster has no enrolment server."""
        return self.ask(made(ForgetAgent, agent_id=agent_id), AgentForgotten)

    def tear_down_framework(self, framework_id: str) -> FrameworkTornDown:
        """Kill the tasks of a framework, end its offers, and refuse its id from then on. Idempotent. Raises
        NotFound."""
        return self.ask(made(TearDownFramework, framework_id=framework_id), FrameworkTornDown)

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
        made(ReadLog, task_id=task_id, name=stream)
        return self.read(task_id, stream, follow)

    # -- commands beside tasks ------------------------------------------------------------------------

    def exec(self, task_id: str, command: Sequence[str], *, stdin: bool = False) -> ExecSession:
        """Run a command beside a task that runs, in its view and limits; see :class:`ExecSession`, which is a context
        manager. ``task_id`` is a task's full id, ``JOB.INDEX``, or ``JOB`` if one task of it runs. Raises NotFound,
        Conflict if the task does not run, Denied, and InvalidInput for a command that cannot be started."""
        made(StartExec, task_id=task_id, exec_id="0" * 32, argv=tuple(command))
        return ExecSession(self, task_id, command, stdin=stdin)

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

    def story(self, ident: str, limit: int = 50) -> StoryView:
        """The latest decisions about a task, an agent, a framework or an offer: which input caused what."""
        return self.ask(made(GetStory, id=ident, limit=limit), StoryView)

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


def _read(kind: type[P], data: object) -> P:
    try:
        return kind.model_validate(data)
    except ValidationError as finding:
        raise BrokerMesosError(
            f"the cluster gave an answer that this version cannot read: {first_problem(finding)}"
        ) from None


def _json_of(spec: JobSpec) -> Json:
    data: Json = spec.model_dump(mode="json", exclude_defaults=True)
    return data


def _checked(job_id: str) -> str:
    return made(WaitJob, job_id=job_id).job_id
