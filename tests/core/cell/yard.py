"""A cell with one agent, and operations to try on it."""

from __future__ import annotations

from broker_mesos.core.cell.inputs import OperatorOperate
from broker_mesos.core.model.reservation import Operation, Volume
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import VolumeMount
from broker_mesos.core.protocol.events import OperationsUpdated
from broker_mesos.core.protocol.framework_messages import Accept
from tests.core.cell.harness import Bench, of, task

R = Resources.parse
BIG = "cpus:8;mem:8192;disk:1000"


def reserve(role: str, resources: str, ident: str = "", **more) -> Operation:
    return Operation(type="RESERVE", role=role, resources=R(resources), operation_id=ident, **more)


def unreserve(role: str, resources: str, ident: str = "", **more) -> Operation:
    return Operation(type="UNRESERVE", role=role, resources=R(resources), operation_id=ident, **more)


def create(role: str, name: str, disk: int, ident: str = "", *, shared: bool = False, **more) -> Operation:
    volume = Volume(volume_id=name, role=role, size=Resources.of(disk=disk), shared=shared)
    return Operation(type="CREATE", volume=volume, operation_id=ident, **more)


def destroy(name: str, ident: str = "") -> Operation:
    return Operation(type="DESTROY", volume_id=name, operation_id=ident)


def with_volume(ident: str, resources: str, *names: str, path: str = "data"):
    mounts = tuple(VolumeMount(volume_id=name, path=f"{path}{at or ''}") for at, name in enumerate(names))
    return task(ident, resources).model_copy(update={"volumes": mounts})


class Yard(Bench):
    """One agent; frameworks take their latest offer."""

    def __init__(self, resources: str = BIG, **more) -> None:
        super().__init__(**more)
        self.agent("a1", resources)

    def accept_with(self, framework: str, operations, *tasks, refuse: float | None = 0.0):
        mine = (o.offer_id for o in self.state.offers.values() if o.framework.ident == framework)
        self.last = Accept(
            framework_id=framework,
            offer_ids=tuple(mine),
            operations=tuple(operations),
            tasks=tasks,
            refuse_seconds=refuse,
        )
        return self.decide(self.last)

    def by_hand(self, operation: Operation, agent: str = "a1") -> list:
        said = self.decide(OperatorOperate(agent, operation))
        for _, refusal in self.decisions[-1].refusals:
            raise refusal
        return said

    @property
    def a1(self):
        return self.state.agents["a1"]

    def offered(self, framework: str) -> Resources:
        return Resources.sum(o.resources for o in self.state.offers.values() if o.framework.ident == framework)

    def reserved(self) -> dict[str, str]:
        return {each.role: str(each.resources) for each in self.a1.reservations}


def outcomes(said) -> dict[str, str]:
    return {
        status.operation_id: status.message or status.state
        for each in of(said, OperationsUpdated)
        for status in each.statuses
    }


def only(framework_role: str, **more) -> dict:
    return {"roles": (framework_role,), **more}
