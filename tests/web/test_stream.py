"""Live updates: every event once, at whatever process, and no request while nobody looks."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx
import pytest

from broker_mesos.core.api.request import Request
from broker_mesos.core.api.stream_ids import id_key
from broker_mesos.core.model.part import Part
from broker_mesos.operator.gateway import Gateway
from broker_mesos.web import viewer as viewer_module
from broker_mesos.web.app import build_app
from broker_mesos.web.live import LiveModel
from broker_mesos.web.server import WebServer
from broker_mesos.web.viewer import MAX_FRAME, MAX_WAITING, Viewer, frame
from broker_mesos.wiring.local import LocalCluster

PATIENCE = 120.0


class Sent(NamedTuple):
    """What came in one server-sent event."""

    kind: str
    ident: str
    data: Any


class Reader:
    """Reads a stream of a server; ``last`` is the id that a browser would send next."""

    def __init__(self, url: str, topics: str, last: str = "") -> None:
        self._url = f"{url}/api/v1/stream"
        self._params = {"topics": topics}
        self.last = last
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Reader:
        client = await self._stack.enter_async_context(httpx.AsyncClient(timeout=PATIENCE))
        headers = {"last-event-id": self.last} if self.last else {}
        self.answer = await self._stack.enter_async_context(
            client.stream("GET", self._url, params=self._params, headers=headers)
        )
        self._lines = self.answer.aiter_lines()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def next(self) -> Sent:
        """The next server-sent event; the beginning of the stream is one of the kind ``""``."""
        kind, data = "", None
        async for line in self._lines:
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "id":
                self.last = value
            elif name == "data":
                data = json.loads(value)
            elif not line:
                return Sent(kind, self.last, data)
        raise EOFError

    async def until(self, kind: str) -> Sent:
        """The next one of a kind."""
        while True:
            found = await asyncio.wait_for(self.next(), PATIENCE)
            if found.kind == kind:
                return found


class Counting:
    """A gateway that counts requests, and ``sleep`` that a test lets go on."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.asked: list[str] = []

    async def handle(self, request: Request, timeout: float = 60.0) -> Part:
        self.asked.append(request.TYPE)
        return await self._gateway.handle(request, timeout)


@pytest.fixture
async def cluster() -> AsyncIterator[LocalCluster]:
    async with LocalCluster(resources="cpus:4;mem:4096;disk:1;ports:[]", cells=2, port=0) as made:
        yield made


def note(cluster: LocalCluster, *names: str) -> None:
    for name in names:
        cluster.master.events.add("agent.gone", (name,), "")


async def names(reader: Reader, count: int) -> list[str]:
    found: list[str] = []
    while len(found) < count:
        sent = await reader.until("event")
        if sent.data["kind"] == "agent.gone":
            assert sent.ident == sent.data["id"]
            found += sent.data["ids"]
    return found


async def test_a_reader_goes_on_at_another_process_without_a_gap_or_a_repeat(cluster: LocalCluster) -> None:
    other = WebServer(await cluster.gateway(), port=0)
    serving = asyncio.create_task(other.run())
    await asyncio.wait_for(other.ready.wait(), PATIENCE)
    seen: list[str] = []
    async with Reader(cluster.url, "events") as reader:
        assert reader.answer.headers["content-type"].startswith("text/event-stream")
        assert reader.answer.headers["x-accel-buffering"] == "no"
        first = await asyncio.wait_for(reader.next(), PATIENCE)
        assert first.kind == "begin" and id_key(reader.last)
        note(cluster, *(f"a{number}" for number in range(5)))
        seen += await names(reader, 3)
        last = reader.last
    note(cluster, *(f"a{number}" for number in range(5, 9)))
    async with Reader(other.url, "events", last) as reader:
        note(cluster, "a9")
        seen += await names(reader, 7)
    assert seen == [f"a{number}" for number in range(10)]
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_a_reader_that_missed_what_is_not_kept_begins_anew(cluster: LocalCluster) -> None:
    async with Reader(cluster.url, "events", "1-1") as reader:
        assert (await reader.until("resync")).data["reason"]


async def test_the_timeline_of_a_job_and_what_jobs_wait_for_come_by_get(cluster: LocalCluster) -> None:
    async with httpx.AsyncClient(base_url=cluster.url, timeout=PATIENCE) as http:

        async def ask(kind: str, **fields: Any) -> Any:
            answer = await http.post("/api/v1", json={"type": kind, **fields})
            assert answer.status_code == 200, answer.text
            return answer.json()["data"]

        spec = {"command": {"arguments": ["true"]}, "resources": "cpus:0.1;mem:16"}
        await ask("SUBMIT_JOB", job_id="runs", spec={**spec, "array": [1, 3]}, wait=30)
        await ask("SUBMIT_JOB", job_id="waits", spec={**spec, "resources": "cpus:1;gpus:1", "array": [1, 5]})
        found = (await http.get("/api/v1/jobs/runs/timeline")).json()
        assert found["index"] == [1, 2, 3] and found["agents"] and not found["truncated"]
        assert all(claimed <= ended for claimed, ended in zip(found["claimed"], found["ended"], strict=True))
        (group,) = (await http.get("/api/v1/waiting")).json()["groups"]
        assert (group["group"], group["jobs"], group["tasks"]) == ("no gpus", 1, 5)
        jobs = (await http.get("/api/v1/jobs", params={"waits_group": "no gpus"})).json()["jobs"]
        assert [(each["job_id"], each["waits_group"]) for each in jobs] == [("waits", "no gpus")]
        overview = (await http.get("/api/v1/overview")).json()
        assert (overview["waiting_jobs"], overview["waiting_tasks"]) == (1, 5)
        (framework,) = (await ask("GET_STATE", parts=["frameworks"]))["frameworks"]
        assert sum(each["count"] for each in framework["shapes"]) == 5, "in two cells"
        torn = await ask("TEAR_DOWN_FRAMEWORK", framework_id="batch")
        assert torn == {"known": True, "tasks": 0, "offers": 0, "missing": []}
        assert (
            await http.post("/api/v1", json={"type": "TEAR_DOWN_FRAMEWORK", "framework_id": "f"})
        ).status_code == 404


async def test_agents_jobs_and_the_overview_come_by_it(cluster: LocalCluster) -> None:
    from broker_mesos.client import Client

    async with Reader(cluster.url, "agents,overview,jobs") as reader:
        await asyncio.wait_for(reader.next(), PATIENCE)
        await reader.until("delta")  # the model has begun
        ident = cluster.agents[0].state.info.agent_id
        job = await asyncio.to_thread(lambda: Client(cluster.url).submit("exit 0", mem=16))
        missing = {"overview", "jobs", "agents"}
        while missing:
            sent = await reader.until("delta")
            topic, data = sent.data["topic"], sent.data["data"]
            if topic == "agents":
                assert data["ids"] == [ident]
            elif topic == "overview":
                assert data["agents"] == {"ready": 1}
            else:
                assert {each["job_id"] for each in data} == {job.id}
            missing.discard(topic)


async def test_nothing_is_asked_while_nobody_looks(cluster: LocalCluster) -> None:
    gateway = Counting(await cluster.gateway())
    turns = asyncio.Semaphore(0)

    async def sleep(seconds: float) -> None:
        await turns.acquire()

    live = LiveModel(gateway, sleep=sleep)
    assert gateway.asked == []
    one, two = Viewer({"events", "agents", "overview"}), Viewer({"events", "agents", "overview"})
    with live.watching(one):
        await asyncio.wait_for(live.position(), PATIENCE)
        with live.watching(two):
            for _ in range(30):
                turns.release()
                await asyncio.sleep(0.01)
        per_kind = {kind: gateway.asked.count(kind) for kind in set(gateway.asked)}
        assert set(per_kind) == {"GET_EVENTS", "GET_AGENTS", "GET_OVERVIEW"}
        assert sum(per_kind.values()) <= 2 * (30 + 3), "two viewers cost what one does"
    assert live._tasks == []
    await asyncio.sleep(0)
    gateway.asked.clear()
    for _ in range(30):
        turns.release()
        await asyncio.sleep(0.01)
    assert gateway.asked == []


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"topics": "x"}, "topics: 'x' is none"),
        ({"topics": ""}, "topics: give 1 to 20"),
        ({"topics": "job:../x"}, "topics: 'job:../x' is none"),
        ({"last_event_id": "x\ny"}, "Last-Event-ID"),
    ],
)
async def test_what_no_stream_can_have_is_refused(params: dict[str, str], problem: str, cluster: LocalCluster) -> None:
    transport = httpx.ASGITransport(build_app(await cluster.gateway()))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        answer = await http.get("/api/v1/stream", params=params)
    assert answer.status_code == 400 and problem in answer.json()["error"]["message"]


async def test_one_stream_too_many_is_told_to_come_back(cluster: LocalCluster) -> None:
    gateway = await cluster.gateway()
    live = LiveModel(gateway, limit=1)
    transport = httpx.ASGITransport(build_app(gateway, live=live))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        with live.watching(Viewer({"events"})):
            answer = await http.get("/api/v1/stream")
    assert answer.status_code == 503 and answer.headers["retry-after"] == "5"
    assert not live.full


async def test_a_server_that_ends_says_goodbye(cluster: LocalCluster) -> None:
    other = WebServer(await cluster.gateway(), port=0)
    serving = asyncio.create_task(other.run())
    await asyncio.wait_for(other.ready.wait(), PATIENCE)
    async with Reader(other.url, "events") as reader:
        await asyncio.wait_for(reader.next(), PATIENCE)
        serving.cancel()
        assert "connect again" in (await reader.until("bye")).data["reason"]
        with pytest.raises(EOFError):
            await asyncio.wait_for(reader.next(), PATIENCE)
    await asyncio.gather(serving, return_exceptions=True)


# -- one viewer -----------------------------------------------------------------------------------------


def kinds(viewer: Viewer) -> list[str]:
    text = b""
    while part := viewer.take():
        assert len(part) <= MAX_FRAME
        text += part
    return [line.removeprefix("event: ") for line in text.decode().splitlines() if line.startswith("event: ")]


def test_a_slow_reader_loses_what_waits_and_is_told_so() -> None:
    viewer = Viewer({"events"})
    for number in range(MAX_WAITING):
        viewer.put(frame("event", "{}", event_id=f"{number}-0"))
    viewer.put(frame("event", "{}", event_id="999-0"))
    text = viewer.take().decode()
    assert text.startswith(f"id: {MAX_WAITING - 1}-0\nevent: resync\n") and "999-0" in text
    assert viewer.take() == b""


def test_what_is_newer_replaces_what_waits_under_the_same_key() -> None:
    viewer = Viewer({"jobs"})
    for number in range(10_000):
        viewer.put(frame("delta", str(number), key="a"))
        viewer.put(frame("delta", "-1", key="b"))
    assert viewer.take().decode().count("event") == 2


def test_no_frame_is_larger_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    viewer = Viewer({"agents"})
    viewer.put(frame("delta", "x" * viewer_module.MAX_FRAME))
    assert kinds(viewer) == ["resync"]
    for _ in range(100):
        viewer.put(frame("delta", "x" * 10_000))
    assert kinds(viewer) == ["delta"] * 100


async def test_events_that_a_reader_has_are_dropped() -> None:
    viewer = Viewer({"events"})
    for number in range(5):
        viewer.put(frame("event", "{}", event_id=f"7-{number}"))
    viewer.put(frame("delta", "{}"))
    viewer.drop_events("7-2")
    assert kinds(viewer) == ["event", "event", "delta"]
