"""Daemons and the web server answer every request, or refuse it in one line; none of them fails over it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import structlog.testing
from hypothesis import given, note
from hypothesis import strategies as st

from broker_mesos.bus.memory import MemoryBus
from broker_mesos.bus.open import CLOCK
from broker_mesos.bus.requests import Requester
from broker_mesos.core.api.catalog import REQUESTS, USER_REQUESTS
from broker_mesos.core.api.request import Request, Route
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.feed_messages import Happened
from broker_mesos.core.protocol.registry import decode
from broker_mesos.core.protocol.wire import REGISTRY
from broker_mesos.errors import BY_CODE, BrokerMesosError, InvalidMessage
from broker_mesos.operator.job_changes import JobChanged
from broker_mesos.ports.bus import Outgoing
from broker_mesos.runtime.clock import new_id
from broker_mesos.web import build_app
from broker_mesos.wiring.local import LocalCluster
from tests.fuzz.effort import check_line, count, fuzz
from tests.fuzz.values import bodies, encoded, resolved

WAITS = {"wait": 0.01, "seconds": 0.01}
"""Fields by which a request waits, in seconds."""


class Target:
    """A cluster in memory, whose agent is too small for the jobs that are made up."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.runner.run(self._start())

    async def _start(self) -> None:
        self.cluster = LocalCluster(resources="cpus:0.01;mem:1;disk:1;ports:[]", cells=1)
        await self.cluster.__aenter__()
        self.agent_id = self.cluster.agents[0].state.info.agent_id
        self.bus: MemoryBus = self.cluster.bus("fuzz")
        await self.bus.open(5)
        self.requester = Requester(self.bus, CLOCK, new_id)
        await self.requester.start()
        app = build_app(await self.cluster.gateway())
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:5050")

    async def _close(self) -> None:
        await self.http.aclose()
        await self.requester.close()
        await self.bus.close()
        await self.cluster.__aexit__()

    def close(self) -> None:
        self.runner.run(self._close())
        self.runner.close()

    def places(self) -> list[addresses.Address]:
        return [
            addresses.operator_master(),
            addresses.operator_cell(0),
            addresses.operator_framework("batch"),
            addresses.operator_agent(self.agent_id),
        ]

    async def over_the_bus(self, request: Request) -> None:
        """Ask every daemon, also those that it is not for."""
        for to in self.places():
            try:
                await self.requester.request(to, request, 10.0)
            except BrokerMesosError as error:
                check_line(error)

    async def over_http(self, body: bytes) -> None:
        answer = await self.http.post(
            "/api/v1", content=body, headers={"content-type": "application/json", "bmesos-timeout": "10"}
        )
        note(f"{answer.status_code} {answer.text[:500]}")
        # 503 and 504: about cells and agents that are not there.
        assert answer.status_code < 500 or answer.status_code in (503, 504)
        if answer.status_code != 200:
            error = answer.json()["error"]
            assert error["code"] in BY_CODE and "\n" not in error["message"] and len(error["message"]) < 3_000

    async def publish(self, to: addresses.Address, type_name: str, body: bytes) -> None:
        await self.bus.publish(Outgoing(to=to, type=type_name, body=body, message_id=new_id()))


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    made = Target()
    yield made
    made.close()


def shortened(body: Any) -> Any:
    """A body that waits for nothing."""
    if isinstance(body, dict):
        for name, short in WAITS.items():
            if isinstance(body.get(name), int | float):
                body[name] = short
    return body


def quiet(target: Target, work: Any) -> None:
    """Nothing of the cluster has failed over it."""
    with structlog.testing.capture_logs() as logs:
        target.runner.run(work)
    assert [line for line in logs if line.get("exc_info") or line.get("log_level") in ("error", "critical")] == []


@pytest.mark.parametrize("type_name", sorted(REQUESTS))
def test_every_daemon_answers_each_request(target: Target, type_name: str) -> None:
    @fuzz(3)
    @given(bodies(REQUESTS[type_name], 1))
    def sent(body: Any) -> None:
        count()
        raw = encoded(resolved(shortened(body), lambda name: target.agent_id))
        note(f"{type_name} {raw[:2_000]!r}")
        try:
            request = decode(type_name, raw)
        except InvalidMessage:
            return
        assert isinstance(request, Request)
        if request.ROUTE is not Route.GATEWAY:
            quiet(target, target.over_the_bus(request))

    sent()


@pytest.mark.parametrize("type_name", sorted(USER_REQUESTS))
def test_the_web_server_answers_each_request(target: Target, type_name: str) -> None:
    @fuzz(4)
    @given(bodies(USER_REQUESTS[type_name], 1))
    def sent(body: Any) -> None:
        count()
        whole = {"type": type_name, **resolved(shortened(body), lambda name: target.agent_id)}
        raw = encoded(whole)
        note(f"{raw[:2_000]!r}")
        quiet(target, target.over_http(raw))

    sent()


FEED_TYPES = [JobChanged.TYPE, Happened.TYPE]


@pytest.mark.parametrize("type_name", FEED_TYPES)
def test_listeners_of_the_feed_survive_what_comes_by_it(target: Target, type_name: str) -> None:
    @fuzz(20)
    @given(bodies(REGISTRY[type_name], 1))
    def sent(body: Any) -> None:
        count()
        raw = encoded(resolved(body, lambda name: "x"))
        note(f"{raw[:2_000]!r}")
        waiting = json.dumps({"type": "WAIT_JOB", "job_id": "job", "seconds": 0.01}).encode()

        async def act() -> None:
            await target.publish(addresses.feed("job.job"), type_name, raw)
            await target.over_http(waiting)

        quiet(target, act())

    sent()


@fuzz(20)
@given(st.sampled_from(sorted(REGISTRY)).flatmap(lambda name: st.tuples(st.just(name), bodies(REGISTRY[name], 1))))
def test_dead_letters_of_any_kind_are_shown_and_dropped(target: Target, sent: tuple[str, Any]) -> None:
    """What an inbox cannot use becomes a dead letter, which operators see and drop."""
    count()
    type_name, body = sent
    raw = encoded(resolved(body, lambda name: "x"))

    async def act() -> None:
        await target.publish(addresses.dead(), type_name, raw)
        for request in ("LIST_DEAD_LETTERS", "RETRY_DEAD_LETTERS", "DROP_DEAD_LETTERS"):
            await target.over_http(json.dumps({"type": request}).encode())

    target.runner.run(act())
