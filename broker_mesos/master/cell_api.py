"""The owner's answers to operator requests about its cell."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from broker_mesos.bus.current_caller import current
from broker_mesos.core.api.agent_table import GetCellAgents
from broker_mesos.core.api.agents import AgentGone, GetGoneAgents, GoneAgents, MarkAgentGone
from broker_mesos.core.api.cells import CellLoad, CellView, GetCell, KillTask, KillTaskAnswer
from broker_mesos.core.api.explain import GetPlacement, Placement
from broker_mesos.core.api.frameworks import (
    FrameworkReadmitted,
    FrameworkTornDown,
    ReadmitFramework,
    TearDownFramework,
)
from broker_mesos.core.api.handlers import Handlers
from broker_mesos.core.api.maintenance import AgentsRequest, GetMaintenance, MaintenanceView
from broker_mesos.core.api.overview import CellOverview, GetCellOverview
from broker_mesos.core.api.reservations import DestroyVolume, ReservationRequest, ReservationsView
from broker_mesos.core.api.roles import ApplyConfig, CellUsage, ConfigApplied, GetCellUsage
from broker_mesos.core.api.search import Matches, SearchCell
from broker_mesos.core.api.story import GetStory, StoryView
from broker_mesos.core.api.waiting import GetUnmetShapes, UnmetShape, UnmetShapes
from broker_mesos.core.cell.cell import Cell
from broker_mesos.core.cell.handlers import maintenance
from broker_mesos.core.cell.inputs import (
    Configured,
    Input,
    OperatorKill,
    OperatorMaintain,
    OperatorMarkGone,
    OperatorOperate,
    OperatorReadmit,
    OperatorTearDown,
)
from broker_mesos.core.cell.views.explain import placement
from broker_mesos.core.cell.views.overview import Obstacles, overview, unmet_shapes
from broker_mesos.core.cell.views.search import matches
from broker_mesos.core.cell.views.story import story
from broker_mesos.core.cell.views.usage import report_usage
from broker_mesos.core.cell.views.views import reserved_resources, view
from broker_mesos.core.protocol.limits import Instant
from broker_mesos.core.protocol.records import AgentStatus, FrameworkStatus
from broker_mesos.core.quota.cluster_config import ClusterConfig
from broker_mesos.errors import NotFound
from broker_mesos.master.agent_table import AgentTableApi

MAX_ANSWER = 900_000
"""Maximum size of a view, in bytes. A message may have 1 MiB; the rest is for characters that must be escaped."""
MAX_GONE = 5_000
"""Maximum number of agents in an answer about those that are gone; the latest ones."""
MIN_MEASURED = 100
"""Number of entries in one part of a view from which on its size is measured: fewer entries seldom reach the maximum.
"""


class CellApi:
    """Answers the operator requests for one cell under one term. ``commit`` decides on an input and returns when the
    decision is committed, since an answer is a promise; it raises the error if the input is refused. ``load`` returns
    the owner's load at a time of the monotonic clock, in seconds. ``read_config`` reads the cluster config from the
    store."""

    def __init__(
        self,
        cell: Cell,
        owner: str,
        *,
        commit: Callable[[Input], Awaitable[None]],
        now: Callable[[], Instant],
        load: Callable[[float], CellLoad],
        read_config: Callable[[], Awaitable[ClusterConfig]],
    ) -> None:
        self._cell = cell
        self._owner = owner
        self._commit = commit
        self._now = now
        self._load = load
        self._read_config = read_config
        self.handlers = handlers = Handlers("a cell")
        handlers.add(GetCell, self._view)
        self.tables = AgentTableApi(lambda: cell.state, now)
        handlers.add(GetCellAgents, self.tables.answer)
        handlers.add(GetCellOverview, self._overview)
        handlers.add(GetUnmetShapes, self._unmet_shapes)
        handlers.add(SearchCell, self._search)
        handlers.add(GetPlacement, self._placement)
        handlers.add(GetCellUsage, self._usage)
        handlers.add(ApplyConfig, self._apply_config)
        handlers.add(GetStory, self._story)
        handlers.add(KillTask, self._kill)
        handlers.add(MarkAgentGone, self._mark_gone)
        handlers.add(GetGoneAgents, self._gone)
        handlers.add(TearDownFramework, self._tear_down)
        handlers.add(ReadmitFramework, self._readmit)
        handlers.add(AgentsRequest, self._maintain)
        handlers.add(ReservationRequest, self._operate)

    async def _view(self, request: GetCell) -> CellView:
        now = self._now()
        while True:
            answer = view(self._cell.state, self._owner, request, now, self._load(now.mono))
            longest = max(map(len, (answer.agents, answer.frameworks, answer.tasks, answer.offers)))
            size = len(answer.model_dump_json()) if longest > MIN_MEASURED else 0
            if size <= MAX_ANSWER:
                return answer
            # The answer must fit into one message: the page is made as long as fits, and is marked as truncated.
            request = request.model_copy(update={"limit": int(0.9 * longest * MAX_ANSWER / size)})

    async def _overview(self, request: GetCellOverview) -> CellOverview:
        state = self._cell.state
        unmet: list[UnmetShape] = []
        for each in unmet_shapes(state):
            unmet.append(each)
            await asyncio.sleep(0)  # the owner may decide in between
        return overview(state, self._owner, unmet, self._load(self._now().mono))

    async def _unmet_shapes(self, request: GetUnmetShapes) -> UnmetShapes:
        obstacles = Obstacles(self._cell.state)
        found: list[UnmetShape] = []
        for shape in request.shapes:
            found.append(obstacles.of(request.framework_id, shape))
            await asyncio.sleep(0)  # the owner may decide in between
        return UnmetShapes(shapes=tuple(found))

    async def _search(self, request: SearchCell) -> Matches:
        return matches(self._cell.state, request)

    async def _placement(self, request: GetPlacement) -> Placement:
        return placement(self._cell.state, self._cell.policy, request, self._now())

    async def _usage(self, request: GetCellUsage) -> CellUsage:
        return report_usage(self._cell.state)

    async def _apply_config(self, request: ApplyConfig) -> ConfigApplied:
        await self._commit(Configured(await self._read_config()))
        return ConfigApplied(version=self._cell.state.config.version)

    async def _story(self, request: GetStory) -> StoryView:
        return story(self._cell.state, request)

    async def _kill(self, request: KillTask) -> KillTaskAnswer:
        task = self._cell.state.tasks.get(request.task_id)
        if task is None or task.state.terminal:
            return KillTaskAnswer(known=False)
        await self._commit(OperatorKill(request.task_id))
        agent = self._cell.state.agents.get(task.agent_id)
        away = agent is not None and agent.state is AgentStatus.UNREACHABLE
        return KillTaskAnswer(known=True, unreachable=task.agent_id if away else "")

    async def _mark_gone(self, request: MarkAgentGone) -> AgentGone:
        agent = self._cell.state.agents.get(request.agent_id)
        if agent is None:
            raise NotFound(
                f"no agent {request.agent_id}; `bmesos agents` lists them. The user of one that has enrolled itself, "
                f"and has left, is deleted by `bmesos agents forget {request.agent_id}`"
            )
        living = sum(not task.state.terminal for task in agent.tasks.values())
        await self._commit(OperatorMarkGone(request.agent_id))
        return AgentGone(tasks=living)

    async def _gone(self, request: GetGoneAgents) -> GoneAgents:
        agents = self._cell.state.agents.values()
        gone = [agent for agent in agents if agent.state is AgentStatus.GONE]
        gone.sort(key=lambda agent: agent.since, reverse=True)
        return GoneAgents(agent_ids=tuple(agent.ident for agent in gone[:MAX_GONE]))

    async def _tear_down(self, request: TearDownFramework) -> FrameworkTornDown:
        framework = self._cell.state.frameworks.get(request.framework_id)
        if framework is None:
            return FrameworkTornDown(known=False)
        tasks = sum(not task.state.terminal for task in framework.tasks.values())
        offers = len(framework.offers)
        await self._commit(OperatorTearDown(request.framework_id))
        return FrameworkTornDown(known=True, tasks=tasks, offers=offers)

    async def _readmit(self, request: ReadmitFramework) -> FrameworkReadmitted:
        framework = self._cell.state.frameworks.get(request.framework_id)
        known = framework is not None and framework.state is FrameworkStatus.TORN_DOWN
        if known:
            await self._commit(OperatorReadmit(request.framework_id))
        return FrameworkReadmitted(known=known)

    async def _maintain(self, request: AgentsRequest) -> MaintenanceView:
        known = any(ident in self._cell.state.agents for ident in request.agent_ids)
        if known and not isinstance(request, GetMaintenance):
            await self._commit(OperatorMaintain(request))
        return maintenance.view(self._cell.state, request)

    async def _operate(self, request: ReservationRequest) -> ReservationsView:
        if isinstance(request, DestroyVolume) and (caller := current()) is not None:
            # It names a volume, and the volume has the role.
            for role in self._roles_of(request.agent_id, request.volume_id):
                caller.check_role(role, request)
        await self._commit(OperatorOperate(request.agent_id, request.operation()))
        return reserved_resources(self._cell.state, self._cell.state.agents[request.agent_id])

    def _roles_of(self, agent_id: str, volume_id: str) -> list[str]:
        """The role of a volume; none if there is no such volume."""
        agent = self._cell.state.agents.get(agent_id)
        volumes = () if agent is None else agent.reserved_resources.volumes
        return [each.role for each in volumes if each.volume_id == volume_id]
