"""Which daemons report what policy they have."""

from __future__ import annotations

import itertools

from broker_mesos.core.api.health import (
    DaemonReport,
    EnrolmentReport,
    GetEnrolmentHealth,
    GetHealth,
    GetMasterHealth,
    GetWorkerHealth,
    HealthView,
    MasterReport,
)
from broker_mesos.core.api.request import Request
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.errors import InvalidMessage, Unavailable
from broker_mesos.operator.gateway import Gateway
from tests.operator.daemons import Daemons
from tests.operator.test_doctor import master


class Reporting(Daemons):
    """One master, which answers what the doctor asks."""

    async def _master(self, request: Request) -> Part:
        if isinstance(request, GetMasterHealth):
            return master("m1")
        raise Unavailable("the store is away")

    async def health(self) -> HealthView:
        answer = await self.gateway.handle(GetHealth(), 5.0)
        assert isinstance(answer, HealthView) and [type(each) for each in answer.masters] == [MasterReport]
        return answer


async def test_each_of_many_workers_is_asked() -> None:
    daemons = Reporting()
    await daemons.start()
    turns = itertools.cycle((11, 12, 12, 13))

    async def worker(request: Request) -> Part:
        assert isinstance(request, GetWorkerHealth)
        return DaemonReport(kind="batch worker", hostname="h", pid=next(turns), policy="3f9a", processes=3)

    await daemons.batch(worker)
    assert [each.pid for each in (await daemons.health()).daemons] == [11, 12, 13]
    await daemons.close()


async def test_daemons_of_an_earlier_release_or_none_at_all_are_left_out() -> None:
    daemons = Reporting()
    await daemons.start()
    assert (await daemons.health()).daemons == ()

    async def older(request: Request) -> Part:
        raise InvalidMessage(f"unknown message type {request.TYPE!r}")

    await daemons.batch(older)
    await daemons.answer(Queue(QueueKind.OPERATOR_ENROLL), older)
    view = await daemons.health()
    assert (view.daemons, view.enrolled) == ((), ())
    await daemons.close()


async def test_the_enrolment_server_and_the_gateway_itself_report_too() -> None:
    daemons = Reporting()
    await daemons.start()
    web, enroll = (DaemonReport(kind=kind, policy="3f9a") for kind in ("web server", "enrolment server"))
    daemons.gateway = Gateway(daemons.gateway._requester, own_report=lambda: web)

    async def server(request: Request) -> Part:
        assert isinstance(request, GetEnrolmentHealth)
        return EnrolmentReport(daemon=enroll, agent_ids=("agent-1",))

    await daemons.answer(Queue(QueueKind.OPERATOR_ENROLL), server)
    view = await daemons.health()
    assert (view.daemons, view.enrolled) == ((enroll, web), ("agent-1",))
    await daemons.close()
