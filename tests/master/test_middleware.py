"""Hooks around what a master handles."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from broker_mesos.bus.requests import Requester
from broker_mesos.core.api.cells import GetCell
from broker_mesos.core.api.cluster import GetCluster, Hello
from broker_mesos.core.api.request import Request
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.cell_messages import Ping
from broker_mesos.errors import Conflict
from broker_mesos.ports.bus import Delivery, outgoing
from broker_mesos.ports.middleware import Middleware
from broker_mesos.runtime.clock import new_id
from tests.master.test_master_in_memory import cluster, owned


class Recorder(Middleware):
    """Notes what is called, and refuses GET_CLUSTER."""

    def __init__(self, name: str, calls: list[tuple[str, str, object]]) -> None:
        self.name = name
        self.calls = calls
        self.decided = asyncio.Event()

    def before_request(self, request: Request) -> None:
        self.calls.append((self.name, "before", request.TYPE))
        if isinstance(request, GetCluster):
            raise Conflict("not today")

    def after_request(self, request: Request, seconds: float, error: BaseException | None) -> None:
        assert seconds >= 0
        self.calls.append((self.name, "after", str(error) if error else request.TYPE))

    def before_decision(self, cell: int, deliveries: Sequence[Delivery]) -> None:
        self.calls += [(self.name, "decides", each.type) for each in deliveries]

    def after_decision(self, cell: int, deliveries: Sequence[Delivery], seconds: float) -> None:
        assert seconds >= 0
        if deliveries:
            self.decided.set()


async def test_hooks_surround_each_request_and_one_of_them_may_refuse_it() -> None:
    async with cluster() as made:
        calls: list[tuple[str, str, object]] = []
        master, task = await made.master("m1", middleware=(Recorder("outer", calls), Recorder("inner", calls)))
        requester = Requester(await made.bus("cli"), made.clock, new_id)
        await owned(master, 1)
        await requester.request(addresses.operator_cell(0), GetCell(), 5)
        assert [each for each in calls if each[2] == "GET_CELL"] == [
            ("outer", "before", "GET_CELL"),
            ("inner", "before", "GET_CELL"),
            ("inner", "after", "GET_CELL"),
            ("outer", "after", "GET_CELL"),
        ]
        with pytest.raises(Conflict, match="not today"):
            await requester.request(addresses.operator_master(), GetCluster(), 5)
        assert ("outer", "after", "not today") in calls and ("inner", "before", "GET_CLUSTER") not in calls
        assert await requester.request(addresses.operator_master(), Hello(), 5)
        await requester.close()
        master.stop()
        await task


async def test_hooks_surround_each_decision_on_messages_of_the_inbox() -> None:
    async with cluster() as made:
        recorder = Recorder("one", [])
        master, task = await made.master("m1", middleware=(recorder,))
        await owned(master, 1)
        bus = await made.bus("somebody")
        await bus.publish(outgoing(addresses.updates(0), Ping(), new_id()))
        async with asyncio.timeout(90):
            while ("one", "decides", "PING") not in recorder.calls:
                recorder.decided.clear()
                await recorder.decided.wait()
        master.stop()
        await task
