"""Gets what running tasks use, from all the agents that they run on."""

from __future__ import annotations

import asyncio

from broker_mesos.core.api.usage import MAX_TASKS, GetUsage, ReadUsage, TaskUsages
from broker_mesos.core.protocol.addresses import operator_agent
from broker_mesos.errors import BrokerMesosError, InvalidInput
from broker_mesos.operator.calls import Calls

MAX_SECONDS = 2.0
"""Time within which an agent answers, in seconds. A status is not to wait for one that is away."""


async def get_usage(calls: Calls, request: GetUsage, timeout: float) -> TaskUsages:
    """Ask all these agents at the same time. Those that do not answer in time, or are of an earlier release, are
    ``missing``. Raises InvalidInput for too many tasks."""
    if any(len(task_ids) > MAX_TASKS for task_ids in request.agents.values()):
        raise InvalidInput(f"agents: at most {MAX_TASKS} tasks of each")

    async def ask(agent_id: str, task_ids: tuple[str, ...]) -> TaskUsages:
        try:
            to = operator_agent(agent_id)
            return await calls.request(to, ReadUsage(task_ids=task_ids), TaskUsages, min(timeout, MAX_SECONDS))
        except BrokerMesosError:
            return TaskUsages(missing=(agent_id,))

    answers = await asyncio.gather(*(ask(agent_id, ids) for agent_id, ids in request.agents.items()))
    return TaskUsages(
        tasks={task_id: used for answer in answers for task_id, used in answer.tasks.items()},
        missing=tuple(agent_id for answer in answers for agent_id in answer.missing),
    )
