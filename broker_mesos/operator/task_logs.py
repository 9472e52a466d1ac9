"""Reads the output of tasks: finds the agent that has it, and reads it there.

Requests and answers are JSON, and nothing here loads models: a command that runs a job reads its output by this.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from broker_mesos.bus.requests import Requester
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.addresses import operator_agent, operator_framework
from broker_mesos.errors import InvalidInput, InvalidMessage, NotFound, TimedOut, Unavailable
from broker_mesos.frameworks.registry import JOBS
from broker_mesos.operator.json_requests import encoded

if TYPE_CHECKING:
    from broker_mesos.core.model.part import JsonObject

READ_LOG = "READ_LOG"
"""The type of the requests for output: ``core.api.files.ReadLog``."""

MAX_CACHED_TASKS = 4_096
"""Maximum number of tasks whose agent is cached; the least recently used one is dropped first."""
_ONE_BYTE = {"offset": 0, "length": 1}
_ENDED = frozenset(state.short for state in TaskState if state.terminal)


class TaskPlace(NamedTuple):
    """The agent that a task runs on. It is empty if the task was not launched yet, or has ended without a launch."""

    task_id: str
    agent_id: str
    ended: bool


Finder = Callable[[str, float], Awaitable[TaskPlace | None]]
"""Finds a task that is no job's, by asking all cells, within a timeout in seconds. None if no cell knows it."""


class TaskLogs:
    """Reads the output of tasks. ``sleep`` is that of the clock."""

    def __init__(
        self, requester: Requester, find: Finder, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        self._requester = requester
        self._find = find
        self._sleep = sleep
        self._located: OrderedDict[str, str] = OrderedDict()
        """By task id: the agent, for tasks that were launched."""

    async def read(self, request: Mapping[str, Any], timeout: float) -> JsonObject:
        """The next part of the output, as a ``LogChunk``; if there is none, wait for up to ``wait`` seconds. Raises
        NotFound for an unknown task and for output that is gone, Unavailable and TimedOut for an agent that does not
        answer."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + request.get("wait", 0.0)
        pause = 0.02
        while True:
            left = max(0.0, deadline - loop.time())
            place = await self.locate(request["task_id"], timeout)
            if place.agent_id:
                if (offset := request.get("offset", 0)) < 0:
                    # Agents of earlier releases take no negative offset.
                    first = await self._read_file(place, {**request, **_ONE_BYTE}, 0.0, timeout)
                    if first is not None:
                        request = {**request, "offset": max(0, first["size"] + offset)}
                        continue
                elif (chunk := await self._read_file(place, request, left, timeout)) is not None:
                    return chunk
            elif place.ended:
                return {"task_id": place.task_id, "ended": True}
            if left <= pause:
                return {
                    "task_id": place.task_id,
                    "agent_id": place.agent_id,
                    "offset": max(0, request.get("offset", 0)),
                }
            await self._sleep(pause)
            pause = min(2 * pause, 0.25)

    async def _read_file(
        self, place: TaskPlace, request: Mapping[str, Any], wait: float, timeout: float
    ) -> JsonObject | None:
        """The next part of a file; None if the agent does not know the task yet."""
        which = {name: request[name] for name in ("name", "offset", "length") if name in request}
        body = encoded("READ_FILE", {**which, "task_id": place.task_id, "wait": wait})
        try:
            answer = await self._requester.exchange(operator_agent(place.agent_id), "READ_FILE", body, wait + timeout)
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
        chunk = {name: answer.get(name) for name in ("data", "offset", "size", "ended")}
        if [type(each) for each in chunk.values()] != [str, int, int, bool]:
            raise InvalidMessage(f"agent {place.agent_id} has sent something else than a part of a file")
        return {"task_id": place.task_id, "agent_id": place.agent_id, **chunk}

    async def locate(self, task_id: str, timeout: float) -> TaskPlace:
        """The agent of a task, by its id, by ``JOB.INDEX`` or ``JOB``. Raises NotFound, Unavailable."""
        agent_id = self._located.get(task_id)
        if agent_id is not None:
            self._located.move_to_end(task_id)
            return TaskPlace(task_id, agent_id, ended=False)
        jobs_away: Unavailable | None = None
        body = encoded(READ_LOG, {"task_id": task_id})
        try:
            task = await self._requester.exchange(operator_framework(JOBS.name), "GET_TASK", body, timeout)
        except NotFound:
            pass
        except Unavailable as error:
            jobs_away = error
        except InvalidInput as error:
            raise InvalidInput(str(error).removeprefix("GET_TASK: ")) from None
        else:
            found = TaskPlace(str(task["task_id"]), str(task.get("agent_id", "")), task["state"] in _ENDED)
            return self._remember(found)
        try:
            place = await self._find(task_id, timeout)
        except Unavailable as error:
            raise jobs_away or error from None
        if place is not None:
            return self._remember(place)
        raise jobs_away or NotFound(f"no task {task_id}; `bmesos tasks` lists them")

    def _remember(self, place: TaskPlace) -> TaskPlace:
        # Ended tasks are not cached: once their agent has forgotten them, the error should state that they have
        # ended.
        if place.agent_id and not place.ended:
            self._located[place.task_id] = place.agent_id
            if len(self._located) > MAX_CACHED_TASKS:
                self._located.popitem(last=False)
        return place
