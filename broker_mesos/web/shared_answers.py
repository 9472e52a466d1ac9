"""Answers that viewers of the same thing share: the cluster is asked once, however many look.

Whoever accepts an answer of some age (the header ``Cache-Control: max-age=SECONDS``, as the dashboard sends it) gets
that of another viewer if it is not older, or waits for the one that is under way. Everybody else is answered anew.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from broker_mesos.bus.current_caller import answering
from broker_mesos.core.api.agent_table import GetAgents
from broker_mesos.core.api.cluster import GetCluster
from broker_mesos.core.api.doctor import GetDoctor
from broker_mesos.core.api.events import GetEvents
from broker_mesos.core.api.explain import Explain
from broker_mesos.core.api.health import GetHealth
from broker_mesos.core.api.history import GetHistory
from broker_mesos.core.api.jobs import GetJob, GetJobs, GetTask
from broker_mesos.core.api.overview import GetOverview
from broker_mesos.core.api.request import Request
from broker_mesos.core.api.roles import GetConfig
from broker_mesos.core.api.state import GetState
from broker_mesos.core.api.timeline import GetTimeline
from broker_mesos.core.api.waiting import GetWaitingJobs
from broker_mesos.core.model.part import Part
from broker_mesos.operator.gateway import TIMEOUT_SECONDS, OperatorApi

SHARED: tuple[type[Request], ...] = (
    Explain,
    GetAgents,
    GetCluster,
    GetConfig,
    GetDoctor,
    GetEvents,
    GetHealth,
    GetHistory,
    GetJob,
    GetJobs,
    GetOverview,
    GetState,
    GetTask,
    GetTimeline,
    GetWaitingJobs,
)
"""Requests that have the same answer for everybody with the right to send them, and change nothing."""
MAX_AGE_SECONDS = 5.0
"""The greatest age of an answer that is given, in seconds, whatever age is accepted."""
MAX_ANSWERS = 100
"""Maximum number of answers that are kept."""

_accepted: ContextVar[float] = ContextVar("accepted age of an answer", default=0.0)


def accepted_age(cache_control: str) -> float:
    """The age of an answer that a header ``Cache-Control`` accepts, in seconds; 0 if it names none."""
    found = re.search(r"(?:^|[\s,])max-age=(\d{1,6})(?:$|[\s,])", cache_control.lower())
    return min(MAX_AGE_SECONDS, float(found.group(1))) if found else 0.0


@contextmanager
def accepting(age: float) -> Iterator[None]:
    """Requests that are answered meanwhile may be answered with what is at most ``age`` seconds old."""
    token = _accepted.set(age)
    try:
        yield
    finally:
        _accepted.reset(token)


class _Kept(NamedTuple):
    asked_at: float
    """When the cluster was asked, by the monotonic clock."""
    answer: asyncio.Task[Part]


class SharedAnswers:
    """The operator API of a gateway, with answers that are shared."""

    def __init__(self, gateway: OperatorApi, now: Callable[[], float] | None = None) -> None:
        """``now`` is in seconds; without it, it is the clock of the event loop."""
        self._gateway = gateway
        self._now = now or (lambda: asyncio.get_running_loop().time())
        self._kept: dict[str, _Kept] = {}

    async def handle(self, request: Request, timeout: float = TIMEOUT_SECONDS) -> Part:
        """Answer a request, as a gateway does."""
        age = _accepted.get()
        if not age or not isinstance(request, SHARED):
            return await self._gateway.handle(request, timeout)
        key = f"{request.TYPE} {timeout} {request.model_dump_json()}"
        now = self._now()
        kept = self._kept.get(key)
        if kept is None or now - kept.asked_at > age:
            # It is asked for this server, and goes on if the viewer that asked first leaves.
            with answering(None):
                kept = _Kept(now, asyncio.create_task(self._gateway.handle(request, timeout)))
            self._keep(key, kept, now)
        return await asyncio.shield(kept.answer)

    def _keep(self, key: str, kept: _Kept, now: float) -> None:
        for old in [each for each, other in self._kept.items() if now - other.asked_at > MAX_AGE_SECONDS]:
            del self._kept[old]
        self._kept.pop(key, None)
        while len(self._kept) >= MAX_ANSWERS:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = kept
        kept.answer.add_done_callback(lambda task: self._forget_failure(key, kept, task))

    def _forget_failure(self, key: str, kept: _Kept, task: asyncio.Task[Part]) -> None:
        """An error is for those who wait for it, and not for who asks next."""
        if (task.cancelled() or task.exception() is not None) and self._kept.get(key) is kept:
            del self._kept[key]
