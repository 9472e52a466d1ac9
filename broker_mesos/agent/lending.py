"""Which part of its resources an agent lends: all, all but disk, or only those that its tasks occupy."""

from __future__ import annotations

from broker_mesos.agent.backoff import BackOff
from broker_mesos.containerizer.collection import FULL_PERCENT
from broker_mesos.containerizer.disk_space import DiskSpace
from broker_mesos.core.model.agent import AgentInfo, Usage
from broker_mesos.core.model.resources import Resources
from broker_mesos.ports.containerizer import SupervisorBack, SupervisorLost

AGAIN_PERCENT = FULL_PERCENT - 1.0
"""Fullness below which disk is lent again, in per cent."""
AGAIN_FACTOR = 1.1
"""Factor above the floor of free disk at which tasks are started again: the agent would register on and on at a floor
that is crossed back and forth."""


class Lending:
    """What an agent lends, as its machine allows. The reasons are one line each, for operators, and empty if there is
    none."""

    def __init__(self, min_free_disk: int = 0) -> None:
        self._min_free_disk = min_free_disk
        self.supervisor_lost = ""
        """Why no task can be started until the containerizer reports otherwise."""
        self._shortage = ""
        self._full = False
        self._percent = 0.0
        self._registered = (False, False)
        self._used = Resources.EMPTY
        """The resources of tasks at the last registration; those that have ended since are lent with it."""

    def on_supervisor(self, event: SupervisorLost | SupervisorBack, backoff: BackOff, now: float) -> bool:
        """Handle that no task can be started, or that this is over. Returns whether to register because of it."""
        if isinstance(event, SupervisorBack):
            backoff.resume(now)
            self.supervisor_lost = ""
            return True
        backoff.suspend(event.message)
        known, self.supervisor_lost = self.supervisor_lost, event.message
        return not known

    def measured(self, space: DiskSpace, used: Resources) -> bool:
        """Take a measurement of the disk into account; ``used`` are the resources of tasks. Returns whether the agent
        lends less or more than it has registered."""
        self._shortage = space.shortage(self._min_free_disk, AGAIN_FACTOR if self._shortage else 1.0)
        self._full = space.percent >= (AGAIN_PERCENT if self._full else FULL_PERCENT)
        self._percent = space.percent
        return self._state != self._registered or (self.nothing and used != self._used)

    @property
    def _state(self) -> tuple[bool, bool]:
        return self.nothing, self._full

    @property
    def nothing(self) -> bool:
        """Whether nothing is lent."""
        return bool(self.supervisor_lost or self._shortage)

    @property
    def refusal(self) -> str:
        """Why a task is not started that the cell has launched nevertheless: it has not heard yet."""
        return self.reason if self._shortage else ""

    @property
    def reason(self) -> str:
        """Why the agent lends less than it has."""
        if self.supervisor_lost:
            return f"no task is started: {self.supervisor_lost}"
        if self._shortage:
            return f"no task is started, since the disk is short: {self._shortage}"
        return f"no disk is lent, since it is {self._percent:.0f}% full" if self._full else ""

    def report(self, usage: Usage) -> Usage:
        """The use of the machine, with the reason."""
        reason = self.reason
        return usage.model_copy(update={"lends_less": reason}) if reason else usage

    def registration(self, info: AgentInfo, used: Resources, *, backing_off: bool) -> AgentInfo:
        """The description of the agent for its registration: ``used`` are the resources of its tasks, and with
        ``backing_off`` it lends no others."""
        self._registered, self._used = self._state, used
        if backing_off or self.nothing:
            return info.model_copy(update={"resources": used, "reservations": ()})
        unused = info.resources.get("disk") - used.get("disk")
        if not self._full or unused <= 0:
            return info
        resources = info.resources.clipped_minus(Resources.scalars_of({"disk": unused}))
        disk = Resources.scalars_of({"disk": info.resources.get("disk")})
        reservations = [
            each.model_copy(update={"resources": each.resources.clipped_minus(disk)}) for each in info.reservations
        ]
        left = tuple(each for each in reservations if each.resources)
        return info.model_copy(update={"resources": resources, "reservations": left})
