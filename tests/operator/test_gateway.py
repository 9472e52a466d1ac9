"""The gateway over the bus in memory, with daemons that answer what a test tells them to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from broker_mesos.core.api.cells import GetCell, KillTask, KillTaskAnswer
from broker_mesos.core.api.files import ReadFile
from broker_mesos.core.api.jobs import GetJob, GetJobs, JobList, JobTask, JobView, KillById, Killed, KillJob, SubmitJob
from broker_mesos.core.api.maintenance import (
    ActivateAgents,
    AgentMaintenance,
    AgentsRequest,
    DrainAgents,
    GetMaintenance,
    MaintenanceView,
    ScheduleMaintenance,
)
from broker_mesos.core.api.request import Request
from broker_mesos.core.api.reservations import DestroyVolume, ReservationsView, ReserveResources
from broker_mesos.core.api.state import GetState, StateView
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.part import Part
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo
from broker_mesos.core.protocol.addresses import cell_of
from broker_mesos.core.protocol.records import AgentStatus, FrameworkStatus
from broker_mesos.errors import Conflict, InvalidInput, NotFound, TimedOut, Unavailable
from tests.operator.daemons import (
    CELLS,
    Daemons,
    Handler,
    answering,
    batch_with,
    refuse,
    summary,
)


async def test_views_of_all_cells_become_one(daemons: Daemons) -> None:
    for cell in range(CELLS):
        await daemons.cell(cell, answering(cell))
    state = await daemons.gateway.handle(GetState(parts=("agents", "frameworks", "roles")))
    assert isinstance(state, StateView)
    assert [agent.agent_id for agent in state.agents] == ["a7", "a8", "a9"]
    (framework,) = state.frameworks
    assert framework.state is FrameworkStatus.SUBSCRIBED and framework.wanted
    # The same port on three agents is three ports.
    assert str(framework.allocated) == "cpus:3;ports:3"
    assert (framework.tasks, framework.offers, framework.dominant_share) == (6, 3, 0.25)
    assert str(state.roles[0].allocated) == "cpus:3;ports:3" and state.roles[0].frameworks == 1
    assert state.counts == {"agents": 3, "frameworks": 1, "tasks": 6, "offers": 3}
    assert [(each.cell, each.behind) for each in state.loads] == [(0, 0.0), (1, 0.5), (2, 1.0)]
    assert state.missing == ()


async def test_a_cell_without_owner_or_answer_is_reported_and_the_others_are_shown(daemons: Daemons) -> None:
    silence = asyncio.Event()

    async def silent(request: Request) -> Part:
        await silence.wait()
        raise AssertionError

    await daemons.cell(0, answering(0))
    await daemons.cell(1, silent)
    state = await daemons.gateway.handle(GetState(parts=("agents",)), timeout=0.5)
    assert isinstance(state, StateView)
    assert [agent.cell for agent in state.agents] == [0]
    assert [each.cell for each in state.missing] == [1, 2]
    assert "in time" in state.missing[0].reason and "no daemon answers" in state.missing[1].reason


async def test_a_cell_that_gets_an_owner_in_time_is_not_missing(daemons: Daemons) -> None:
    for cell in range(CELLS - 1):
        await daemons.cell(cell, answering(cell))
    asking = asyncio.create_task(daemons.gateway.handle(GetState(parts=("agents",))))
    while sum(isinstance(each, GetCell) for each in daemons.asked) < CELLS - 1:
        await asyncio.sleep(0)
    await daemons.cell(2, answering(2))
    state = await asyncio.wait_for(asking, 10)
    assert isinstance(state, StateView) and state.missing == () and len(state.agents) == CELLS


async def test_no_cell_at_all_is_unavailable(daemons: Daemons) -> None:
    with pytest.raises(Unavailable, match="no cell answers: no daemon answers"):
        await daemons.gateway.handle(GetState(parts=("agents",)), timeout=0.2)


async def test_jobs_go_to_the_batch_framework(daemons: Daemons) -> None:
    with pytest.raises(Unavailable, match=r"GET_JOBS at framework\.batch"):
        await daemons.gateway.handle(GetJobs())

    async def batch(request: Request) -> Part:
        return JobList(jobs=(), total=0)

    await daemons.batch(batch)
    assert await daemons.gateway.handle(GetJobs()) == JobList(jobs=(), total=0)


async def test_silence_ends_in_time(daemons: Daemons) -> None:
    async def silent(request: Request) -> Part:
        await asyncio.Event().wait()
        raise AssertionError

    await daemons.batch(silent)
    with pytest.raises(TimedOut, match="GET_JOBS"):
        await daemons.gateway.handle(GetJobs(), timeout=0.1)


async def test_a_request_within_the_cluster_is_refused(daemons: Daemons) -> None:
    for request in (GetCell(), ReadFile(task_id="t")):
        with pytest.raises(InvalidInput, match="within the cluster"):
            await daemons.gateway.handle(request)


async def test_an_error_of_a_daemon_arrives(daemons: Daemons) -> None:
    await daemons.batch(refuse(NotFound("no job x")))
    with pytest.raises(NotFound, match="no job x"):
        await daemons.gateway.handle(KillJob(job_id="x"))


# -- kill -----------------------------------------------------------------------------------------------


async def test_kill_finds_a_job(daemons: Daemons) -> None:
    await daemons.batch(batch_with(None))
    killed = await daemons.gateway.handle(KillById(id="job"))
    assert isinstance(killed, Killed) and killed.kind == "job"


@pytest.mark.parametrize("ident", ["job.7", "job.7.2"])
async def test_kill_finds_a_task_of_a_job(ident: str, daemons: Daemons) -> None:
    await daemons.batch(batch_with(JobTask(task_id="job.7.2", index=7, attempt=2, state="running")))
    killed = await daemons.gateway.handle(KillById(id=ident))
    assert isinstance(killed, Killed) and killed.kind == "task" and killed.job is not None
    assert KillJob(job_id="job", index=7) in daemons.asked


async def test_a_kill_names_the_agent_that_is_unreachable(daemons: Daemons) -> None:
    task = JobTask(task_id="job.7.2", index=7, attempt=2, state="unreachable", agent_id="a1")

    async def batch(request: Request) -> Part:
        if isinstance(request, GetJob):
            assert request.states == ("unreachable",)
            spec = JobSpec(command=CommandInfo(arguments=("true",)), resources=Resources.parse("cpus:1;mem:64"))
            return JobView(summary=summary("job"), spec=spec, tasks=(task,))
        return await batch_with(task)(request)

    await daemons.batch(batch)
    for ident in ("job", "job.7"):
        killed = await daemons.gateway.handle(KillById(id=ident))
        assert isinstance(killed, Killed) and killed.unreachable == ("a1",)
        assert "agent a1 is unreachable" in killed.note and "`bmesos agents gone a1`" in killed.note


async def test_a_kill_of_another_frameworks_task_names_the_agent_that_is_unreachable(daemons: Daemons) -> None:
    await daemons.batch(batch_with(None))

    async def cell(request: Request) -> Part:
        return KillTaskAnswer(known=True, unreachable="a1")

    for number in range(CELLS):
        await daemons.cell(number, cell)
    killed = await daemons.gateway.handle(KillById(id="t"))
    assert isinstance(killed, Killed) and killed.unreachable == ("a1",) and "is unreachable" in killed.note


async def test_kill_asks_the_cells_for_a_task_of_another_framework(daemons: Daemons) -> None:
    await daemons.batch(batch_with(None))

    def cell(known: bool) -> Handler:
        async def handler(request: Request) -> Part:
            assert request == KillTask(task_id="mine")
            return KillTaskAnswer(known=known)

        return handler

    for number in range(CELLS):
        await daemons.cell(number, cell(number == 1))
    killed = await daemons.gateway.handle(KillById(id="mine"))
    assert isinstance(killed, Killed) and killed == Killed(kind="task")


async def test_kill_of_what_nobody_knows_is_not_found(daemons: Daemons) -> None:
    async def unknown(request: Request) -> Part:
        return KillTaskAnswer(known=False)

    for number in range(CELLS):
        await daemons.cell(number, unknown)
    # Without the batch framework it might be a job: that nobody can tell.
    with pytest.raises(Unavailable, match=r"at framework\.batch"):
        await daemons.gateway.handle(KillById(id="x"))
    await daemons.batch(batch_with(None))
    with pytest.raises(NotFound, match="no job or task x"):
        await daemons.gateway.handle(KillById(id="x"))


# -- what agents hold -----------------------------------------------------------------------------------


async def test_a_reservation_is_asked_of_the_agents_cell_alone(daemons: Daemons) -> None:
    async def handler(request: Request) -> Part:
        assert isinstance(request, ReserveResources)
        return ReservationsView(agent_id=request.agent_id, cell=cell_of("a1", CELLS))

    await daemons.cell(cell_of("a1", CELLS), handler)
    asked = ReserveResources(agent_id="a1", role="eng", resources=Resources.parse("cpus:1"), request_id="r")
    found = await daemons.gateway.handle(asked)
    assert isinstance(found, ReservationsView) and found.agent_id == "a1"
    assert [each for each in daemons.asked if isinstance(each, ReserveResources)] == [asked]


async def test_a_refused_reservation_is_an_error_with_its_reason(daemons: Daemons) -> None:
    async def handler(request: Request) -> Part:
        raise Conflict("cpus:9 is asked for")

    await daemons.cell(cell_of("a1", CELLS), handler)
    with pytest.raises(Conflict, match="cpus:9 is asked for"):
        await daemons.gateway.handle(DestroyVolume(agent_id="a1", volume_id="v1"))


async def test_a_cell_without_an_owner_reserves_nothing(daemons: Daemons) -> None:
    with pytest.raises(Unavailable, match="of agent a1"):
        await daemons.gateway.handle(DestroyVolume(agent_id="a1", volume_id="v1"))


# -- maintenance ----------------------------------------------------------------------------------------


def cell_with(*agent_ids: str) -> Handler:
    async def handler(request: Request) -> Part:
        assert isinstance(request, AgentsRequest)
        named = [each for each in agent_ids if each in request.agent_ids]
        return MaintenanceView(
            agents=tuple(AgentMaintenance(agent_id=each, cell=0, state=AgentStatus.REGISTERED) for each in named)
        )

    return handler


async def test_agents_of_several_cells_are_drained_together_or_not_at_all(daemons: Daemons) -> None:
    for number, agents in enumerate([("a2",), ("a1", "a3"), ()]):
        await daemons.cell(number, cell_with(*agents))
    found = await daemons.gateway.handle(DrainAgents(agent_ids=("a2", "a1"), grace=5.0))
    assert isinstance(found, MaintenanceView) and [each.agent_id for each in found.agents] == ["a1", "a2"]
    daemons.asked.clear()
    with pytest.raises(NotFound, match="no agent nobody; `bmesos agents`"):
        await daemons.gateway.handle(DrainAgents(agent_ids=("a1", "nobody")))
    assert not [each for each in daemons.asked if isinstance(each, DrainAgents)]


@pytest.mark.slow
async def test_an_agent_of_a_cell_that_does_not_answer_is_not_called_unknown(daemons: Daemons) -> None:
    await daemons.cell(0, cell_with("a1"))
    with pytest.raises(Unavailable, match="agent a2 is not known"):
        await daemons.gateway.handle(ActivateAgents(agent_ids=("a1", "a2")))
    view = await daemons.gateway.handle(GetMaintenance())
    assert isinstance(view, MaintenanceView) and view.missing == (1, 2)


async def test_an_absence_that_is_over_is_refused(daemons: Daemons) -> None:
    with pytest.raises(InvalidInput, match="over already"):
        await daemons.gateway.handle(ScheduleMaintenance(agent_ids=("a1",), start=5.0, duration=60.0))
    assert not daemons.asked


# -- texts that are not UTF-8 ---------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["arguments", "environment"])
async def test_a_text_that_is_not_utf_8_is_refused(where: str, daemons: Daemons) -> None:
    command: dict[str, Any] = {"arguments": ["echo"], "environment": {}}
    command[where] = ["echo", "\udcff"] if where == "arguments" else {"A": "\ud800"}
    request = SubmitJob.model_validate(
        {"job_id": "j", "spec": {"command": command, "resources": "cpus:1;mem:64", "name": "n"}}
    )
    with pytest.raises(InvalidInput, match="not valid UTF-8"):
        await daemons.gateway.handle(request)
    assert daemons.asked == []
