"""Reads the output of tasks: finds the agent that has it, and reads it there."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import NamedTuple

from broker_mesos.core.api.cells import CellView, GetCell
from broker_mesos.core.api.files import FileChunk, LogChunk, ReadFile, ReadLog
from broker_mesos.core.api.jobs import GetTask, JobTask
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.addresses import operator_agent
from broker_mesos.errors import NotFound, TimedOut, Unavailable
from broker_mesos.operator.calls import JOBS_FRAMEWORK, Calls, not_all_cells

MAX_CACHED_TASKS = 4_096
"""Maximum number of tasks whose agent is cached; the least recently used one is dropped first."""
_ENDED = frozenset(state.short for state in TaskState if state.terminal)


class TaskPlace(NamedTuple):
    """The agent that a task runs on. It is empty if the task was not launched yet, or has ended without a launch."""

    task_id: str
    agent_id: str
    ended: bool


class TaskLogs:
    """Reads the output of tasks on behalf of a gateway."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._located: OrderedDict[str, str] = OrderedDict()
        """By task id: the agent, for tasks that were launched."""

    async def read(self, request: ReadLog, timeout: float) -> LogChunk:
        """The next part of the output; if there is none, wait for up to ``request.wait`` seconds. Raises NotFound for
        an unknown task and for output that is gone, Unavailable and TimedOut for an agent that does not answer."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + request.wait
        pause = 0.02
        while True:
            left = max(0.0, deadline - loop.time())
            place = await self._locate(request.task_id, timeout)
            if place.agent_id:
                chunk = await self._read_file(place, request, left, timeout)
                if chunk is not None:
                    return chunk
            elif place.ended:
                return LogChunk(task_id=place.task_id, ended=True)
            if left <= pause:
                return LogChunk(task_id=place.task_id, agent_id=place.agent_id, offset=request.offset)
            await self._calls.sleep(pause)
            pause = min(2 * pause, 0.25)

    async def _read_file(self, place: TaskPlace, request: ReadLog, wait: float, timeout: float) -> LogChunk | None:
        """The next part of a file; None if the agent does not know the task yet."""
        read = ReadFile(
            task_id=place.task_id, name=request.name, offset=request.offset, length=request.length, wait=wait
        )
        try:
            chunk = await self._calls.request(operator_agent(place.agent_id), read, FileChunk, wait + timeout)
        except NotFound as error:
            self._located.pop(place.task_id, None)
            if place.ended:
                raise NotFound(f"the output of {place.task_id} is gone: {error}") from None
            return None
        except TimedOut:
            raise TimedOut(
                f"agent {place.agent_id}, which has the output of {place.task_id}, does not answer"
            ) from None
        except Unavailable as error:
            self._located.pop(place.task_id, None)
            raise Unavailable(f"the output of {place.task_id} is on agent {place.agent_id}: {error}") from None
        return LogChunk(
            task_id=place.task_id,
            agent_id=place.agent_id,
            data=chunk.data,
            offset=chunk.offset,
            size=chunk.size,
            ended=chunk.ended,
        )

    async def _locate(self, task_id: str, timeout: float) -> TaskPlace:
        agent_id = self._located.get(task_id)
        if agent_id is not None:
            self._located.move_to_end(task_id)
            return TaskPlace(task_id, agent_id, ended=False)
        jobs_away: Unavailable | None = None
        try:
            task = await self._calls.request(JOBS_FRAMEWORK, GetTask(task_id=task_id), JobTask, timeout)
        except NotFound:
            pass
        except Unavailable as error:
            jobs_away = error
        else:
            return self._remember(TaskPlace(task.task_id, task.agent_id, task.state in _ENDED))
        ask = GetCell(parts=("tasks",), task_id=task_id, limit=1)
        views, missing = await self._calls.all_cells(ask, CellView, timeout)
        for view in views:
            for each in view.tasks:
                return self._remember(TaskPlace(each.task_id, each.agent_id, each.state.terminal))
        if jobs_away is not None:
            raise jobs_away
        if missing:
            raise not_all_cells(f"task {task_id}", missing)
        raise NotFound(f"no task {task_id}; `bmesos tasks` lists them")

    def _remember(self, place: TaskPlace) -> TaskPlace:
        # Ended tasks are not cached: once their agent has forgotten them, the error should state that they have
        # ended.
        if place.agent_id and not place.ended:
            self._located[place.task_id] = place.agent_id
            if len(self._located) > MAX_CACHED_TASKS:
                self._located.popitem(last=False)
        return place
