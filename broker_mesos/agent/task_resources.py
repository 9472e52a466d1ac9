"""The resources of an agent that its tasks occupy, and whether one more task fits beside them."""

from __future__ import annotations

from broker_mesos.core.cell.state.reserved_portions import laid_out
from broker_mesos.core.model.agent import AgentInfo, AgentTask
from broker_mesos.core.model.reservation import ReservedResources, mount_problem
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.agent_messages import LaunchItem
from broker_mesos.errors import InvalidResources


class TaskResources:
    """The resources of an agent, and those that its tasks occupy. Queued tasks occupy none."""

    def __init__(self, total: Resources) -> None:
        self.used = Resources.EMPTY
        """The resources of the tasks that run or are being started, without revocable ones."""
        self.slack = Resources.EMPTY
        """The resources that revocable tasks may occupy in addition to the total."""
        self._total = total
        self._revocable = Resources.EMPTY
        self.volume_sizes: dict[str, int] = {}
        """The sizes of the agent's volumes by id, in bytes."""

    def set_total(self, info: AgentInfo, reserved_resources: ReservedResources) -> None:
        """Set the agent's resources, in which volumes take the place of disk."""
        self._total, _ = laid_out(info.resources, (), reserved_resources.volumes)
        volumes = reserved_resources.volumes
        self.volume_sizes = {each.volume_id: (each.size.get("disk") << 20) // 1000 for each in volumes}

    def free(self, *, revocable: bool) -> Resources:
        """The resources that are free for tasks, or for revocable tasks."""
        return self.slack.clipped_minus(self._revocable) if revocable else self._total.clipped_minus(self.used)

    def misfit(self, launch: LaunchItem, free: Resources) -> str:
        """The reason why a task cannot run on the resources ``free``, in one line; empty if it can."""
        if not free.contains(launch.task.resources):
            missing = free.missing(launch.task.resources)
            where = "into the slack of" if launch.revocable else "beside what runs on"
            return f"it does not fit {where} this agent: short of {missing}"
        for mount in launch.task.volumes:
            if mount.volume_id not in self.volume_sizes:
                return f"this agent has no volume {mount.volume_id}"
        return mount_problem(launch.task.volumes)

    def add(self, info: AgentTask) -> None:
        """Add the resources of a task."""
        if info.revocable:
            self._revocable += info.resources
            return
        try:
            self.used = self.used + info.resources
        except InvalidResources:
            # Two tasks on one port can only come from a damaged journal; a port cannot be counted twice.
            self.used = self.used + info.resources.clipped_minus(self.used)

    def remove(self, info: AgentTask) -> None:
        """Remove the resources of a task that has ended."""
        if info.revocable:
            self._revocable -= info.resources
        else:
            self.used = self.used.clipped_minus(info.resources)
