"""What running tasks use, over all the agents that they run on."""

from __future__ import annotations

import pytest

from broker_mesos.core.api.request import Request
from broker_mesos.core.api.usage import GetUsage, ReadUsage, TaskUsage, TaskUsages
from broker_mesos.core.model.part import Part
from broker_mesos.errors import InvalidInput
from tests.operator.daemons import Daemons, Handler, refuse


def using(cpu: float, memory: int) -> Handler:
    async def handler(request: Request) -> Part:
        assert isinstance(request, ReadUsage)
        return TaskUsages(tasks={each: TaskUsage(cpu_seconds=cpu, memory=memory) for each in request.task_ids})

    return handler


async def test_agents_are_asked_for_their_own_tasks_and_those_that_cannot_answer_are_named(daemons: Daemons) -> None:
    await daemons.agent("a1", using(1.5, 100))
    await daemons.agent("a2", using(2.5, 200))
    await daemons.agent("old", refuse(InvalidInput("an agent does not answer READ_USAGE")))
    agents = {"a1": ("j.1.1", "j.2.1"), "a2": ("j.3.1",), "old": ("j.4.1",), "gone": ("j.5.1",)}
    found = await daemons.gateway.handle(GetUsage(agents=agents))
    assert isinstance(found, TaskUsages)
    assert set(found.missing) == {"old", "gone"}
    assert found.tasks == {
        "j.1.1": TaskUsage(cpu_seconds=1.5, memory=100),
        "j.2.1": TaskUsage(cpu_seconds=1.5, memory=100),
        "j.3.1": TaskUsage(cpu_seconds=2.5, memory=200),
    }


async def test_a_request_about_too_many_tasks_is_refused(daemons: Daemons) -> None:
    with pytest.raises(InvalidInput, match="at most 1000 tasks"):
        await daemons.gateway.handle(GetUsage(agents={"a1": tuple(f"t{at}" for at in range(1_001))}))
