"""Many viewers of one thing cost the cluster what one does, and nobody gets an older answer than it accepts."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from typing import Any

import httpx
import pytest

from broker_mesos.bus.current_caller import current
from broker_mesos.core.api.cluster import GetCluster
from broker_mesos.core.api.jobs import KillById
from broker_mesos.core.api.overview import GetOverview, Overview
from broker_mesos.core.api.request import Request
from broker_mesos.core.api.state import MissingCell
from broker_mesos.core.model.part import Part
from broker_mesos.errors import BrokerMesosError, Unavailable
from broker_mesos.web import build_app
from broker_mesos.web.live import AGENTS_BYTES_PER_SECOND, MAX_INTERVAL_SECONDS, LiveModel
from broker_mesos.web.shared_answers import MAX_ANSWERS, SharedAnswers, accepted_age, accepting
from broker_mesos.web.viewer import GZIP_HEADER, Viewer, frame, packed
from tests.operator.fakes import FakeCluster
from tests.ui.pretended import PretendedCluster
from tests.web.test_authentication import ANN, Access, bearer


class Slow:
    """Answers when it is let, with the number of the answer."""

    def __init__(self) -> None:
        self.asked = 0
        self.go_on = asyncio.Event()
        self.error: BrokerMesosError | None = None
        self.caller: object = "nobody was asked"

    async def handle(self, request: Request, timeout: float = 5.0) -> Part:
        self.asked += 1
        number = self.asked
        self.caller = current()
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        return Overview(offers=number)


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


async def offers(shared: SharedAnswers, age: float) -> int:
    with accepting(age):
        found = await shared.handle(GetOverview())
    assert isinstance(found, Overview)
    return found.offers


async def test_fifty_viewers_ask_the_cluster_once() -> None:
    slow, clock = Slow(), Clock()
    shared = SharedAnswers(slow, clock)
    waiting = [asyncio.create_task(offers(shared, 1.0)) for _ in range(50)]
    await asyncio.sleep(0)
    slow.go_on.set()
    assert await asyncio.gather(*waiting) == [1] * 50
    clock.seconds += 1.0
    assert await offers(shared, 1.0) == 1
    clock.seconds += 0.1
    assert await offers(shared, 1.0) == 2


async def test_who_accepts_no_age_gets_an_answer_of_its_own() -> None:
    slow = Slow()
    slow.go_on.set()
    shared = SharedAnswers(slow, Clock())
    assert [await offers(shared, age) for age in (1.0, 0.0, 0.0, 1.0)] == [1, 2, 3, 1]


async def test_a_viewer_that_leaves_takes_the_answer_from_nobody() -> None:
    slow = Slow()
    shared = SharedAnswers(slow, Clock())
    first, second = (asyncio.create_task(offers(shared, 1.0)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    slow.go_on.set()
    assert await second == 1


async def test_an_error_is_not_kept() -> None:
    slow = Slow()
    slow.error = Unavailable("no master")
    slow.go_on.set()
    shared = SharedAnswers(slow, Clock())
    with pytest.raises(Unavailable):
        await offers(shared, 1.0)
    slow.error = None
    assert await offers(shared, 1.0) == 2


async def test_only_few_answers_are_kept() -> None:
    shared = SharedAnswers(FakeCluster(), Clock())
    with accepting(5.0):
        for timeout in range(2 * MAX_ANSWERS):
            await shared.handle(GetCluster(), 1.0 + timeout)
    assert len(shared._kept) <= MAX_ANSWERS


async def test_nothing_that_changes_anything_is_shared() -> None:
    cluster = FakeCluster()
    cluster.failing["KILL_BY_ID"] = Unavailable("none")
    shared = SharedAnswers(cluster, Clock())
    with accepting(5.0):
        for _ in range(3):
            with pytest.raises(Unavailable):
                await shared.handle(KillById(id="j"))
    assert len(cluster.asked) == 3


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 0),
        ("no-cache", 0),
        ("max-age=0", 0),
        ("max-age=1", 1),
        ("no-transform, Max-Age=3", 3),
        ("max-age=999999", 5),
        ("max-age=-1", 0),
        ("max-age=1x", 0),
        ("s-max-age=4", 0),
    ],
)
def test_the_age_is_that_of_the_header_and_bounded(header: str, seconds: float) -> None:
    assert accepted_age(header) == seconds


async def test_rights_are_checked_for_each_viewer_and_the_cluster_is_asked_for_the_server() -> None:
    slow = Slow()
    slow.go_on.set()
    transport = httpx.ASGITransport(build_app(slow, access=Access()))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:5050") as http:
        fresh = {"Cache-Control": "max-age=5"}
        body = {"type": "GET_OVERVIEW"}
        assert (await http.post("/api/v1", json=body, headers=fresh)).status_code == 401
        for _ in range(2):
            assert (await http.post("/api/v1", json=body, headers=fresh | bearer(ANN))).status_code == 200
    assert slow.asked == 1 and slow.caller is None


async def test_a_large_answer_is_compressed_for_who_accepts_that() -> None:
    transport = httpx.ASGITransport(build_app(PretendedCluster(1_000)))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:5050") as http:
        body = {"type": "GET_AGENTS", "follow": True}
        plain = await http.post("/api/v1", json=body, headers={"accept-encoding": "identity"})
        small = await http.post("/api/v1", json=body, headers={"accept-encoding": "gzip"})
        assert plain.json() == small.json() and "content-encoding" not in plain.headers
        assert small.headers["content-encoding"] == "gzip"
        assert int(small.headers["content-length"]) < int(plain.headers["content-length"]) / 4


# -- many changes at once -------------------------------------------------------------------------------


class Watched:
    """A model whose time passes when a test says so."""

    def __init__(self, cluster: PretendedCluster) -> None:
        self.cluster = cluster
        self.pauses: list[float] = []
        self._turn = asyncio.Semaphore(0)
        self.live = LiveModel(cluster, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await self._turn.acquire()

    async def turn(self) -> None:
        for _ in range(3):
            self._turn.release()
        for _ in range(200):
            await asyncio.sleep(0)


@pytest.fixture
async def watched() -> Watched:
    return Watched(PretendedCluster(2_000))


def deltas(viewer: Viewer) -> list[dict[str, Any]]:
    found = []
    while part := viewer.take():
        for line in part.decode().splitlines():
            if line.startswith("data: ") and '"topic":"agents"' in line:
                found.append(json.loads(line[6:])["data"])
            assert line != "event: resync"
    return found


async def test_all_agents_may_change_at_once_without_anybody_fetching_all_of_them(watched: Watched) -> None:
    viewer = Viewer({"agents"})
    with watched.live.watching(viewer):
        await watched.turn()
        assert deltas(viewer) == []
        watched.cluster.change(2_000)
        await watched.turn()
        found = deltas(viewer)
    assert sorted(ident for each in found for ident in each["ids"]) == [row.agent_id for row in watched.cluster.rows]
    assert all(len(each["ids"]) == len(each["cells"]) == len(each["shares"]) for each in found)
    used = {ident: each["used"]["cpus"][at] for each in found for at, ident in enumerate(each["ids"])}
    assert used == {row.agent_id: row.used["cpus"] / 1_000 for row in watched.cluster.rows}


async def test_the_more_has_changed_the_longer_it_is_until_the_next_request(watched: Watched) -> None:
    viewer = Viewer({"agents"}, compressed=True)
    with watched.live.watching(viewer):
        await watched.turn()
        watched.pauses.clear()
        watched.cluster.change(2_000)
        await watched.turn()
    sent = b""
    while part := viewer.take():
        sent += part
    longest = max(watched.pauses)
    assert longest <= MAX_INTERVAL_SECONDS
    assert len(sent) / longest <= AGENTS_BYTES_PER_SECOND or longest == MAX_INTERVAL_SECONDS


async def test_a_cell_that_stops_answering_is_named_though_no_agent_changes(watched: Watched) -> None:
    viewer = Viewer({"agents"})
    with watched.live.watching(viewer):
        await watched.turn()
        watched.cluster.missing = (MissingCell(cell=2, reason="no answer"),)
        await watched.turn()
        assert [each["missing"] for each in deltas(viewer)] == [[{"cell": 2, "reason": "no answer"}]]
        watched.cluster.missing = ()
        await watched.turn()
        assert [each["missing"] for each in deltas(viewer)] == [[]]


async def test_an_update_is_compressed_once_for_all_streams_and_reads_as_one_stream() -> None:
    one, two = Viewer({"events"}, compressed=True), Viewer({"events"}, compressed=True)
    frames = [frame("event", json.dumps({"number": number, "text": "x" * number})) for number in range(50)]
    for each in frames:
        one.put(each)
        two.put(each)
    assert frames[3].packed is frames[3].packed
    streams = [GZIP_HEADER + packed(b"retry: 1000\n\n") + viewer.take() for viewer in (one, two)]
    assert streams[0] == streams[1]
    with pytest.raises(EOFError):  # it has no end as long as the stream goes on
        gzip.decompress(streams[0])
    text = zlib.decompressobj(wbits=31).decompress(streams[0]).decode()
    assert text == "retry: 1000\n\n" + "".join(each.text.decode() for each in frames)
