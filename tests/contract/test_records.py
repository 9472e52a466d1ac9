"""What every Records does, in memory, in a file and on Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from broker_mesos.errors import InvalidInput, StoreUnavailable
from broker_mesos.ports.store import Change, Check, Records
from tests.contract.stores import KINDS, StoreKind, make_kind


@pytest.fixture(params=KINDS)
async def kind(request: pytest.FixtureRequest, cluster_name: str) -> AsyncIterator[StoreKind]:
    async with make_kind(request, cluster_name) as made:
        yield made


@pytest.fixture
async def records(kind: StoreKind) -> AsyncIterator[Records]:
    made = kind.records()
    await made.open(10)
    yield made
    await made.close()


async def test_all_changes_apply_when_all_checks_hold(records: Records) -> None:
    assert await records.transact([], [Change("hset", "jobs", "j1", "new"), Change("zadd", "queue", "j1", 5)]) == []
    checks = [
        Check("hash", "jobs", "j1", "new"),
        Check("hash", "jobs", "j2", None),
        Check("hash", "nowhere", "x", None),
        Check("zcard", "queue", value=1),
        Check("zcard", "empty", value=0),
    ]
    changes = [
        Change("hset", "jobs", "j1", "old"),
        Change("hset", "jobs", "j2", "ünï\n"),
        Change("hincrby", "counts", "done", 3),
        Change("hincrby", "counts", "done", -1),
        Change("hincrby", "counts", "failed", -7),
        Change("zrem", "queue", "j1"),
        Change("zadd", "queue", "j2", 2.5),
    ]
    assert await records.transact(checks, changes) == [3, 2, -7]
    assert await records.get_all("jobs") == {"j1": "old", "j2": "ünï\n"}
    assert await records.get_all("counts") == {"done": "2", "failed": "-7"}
    assert await records.range("queue", limit=10) == [("j2", 2.5)]


@pytest.mark.parametrize(
    "broken",
    [
        Check("hash", "jobs", "j1", "old"),
        Check("hash", "jobs", "j1", None),
        Check("hash", "jobs", "absent", "new"),
        Check("hash", "jobs", "absent", ""),
        Check("zcard", "queue", value=0),
        Check("zcard", "empty", value=1),
    ],
)
async def test_no_change_applies_when_one_check_fails(records: Records, broken: Check) -> None:
    await records.transact([], [Change("hset", "jobs", "j1", "new"), Change("zadd", "queue", "j1", 5)])
    checks = [Check("hash", "jobs", "j1", "new"), broken]
    changes = [Change("hset", "jobs", "j2", "x"), Change("hincrby", "counts", "n", 1), Change("del", "queue")]
    assert await records.transact(checks, changes) is None
    assert await records.get_all("jobs") == {"j1": "new"}
    assert await records.size("counts") == 0
    assert await records.size("queue") == 1


async def test_of_concurrent_claims_on_one_field_one_wins(kind: StoreKind) -> None:
    clients = [kind.records() for _ in range(4)]
    outcomes = await asyncio.gather(
        *(
            client.transact([Check("hash", "claims", "t1", None)], [Change("hset", "claims", "t1", str(number))])
            for number, client in enumerate(clients)
        )
    )
    assert (outcomes.count([]), outcomes.count(None)) == (1, 3)
    (value,) = await clients[0].get("claims", ["t1"])
    assert value is not None and outcomes[int(value)] == []
    for client in clients:
        await client.close()


async def test_changes_apply_in_order(records: Records) -> None:
    await records.transact([], [Change("hset", "a", "x", 1), Change("hset", "a", "y", 2)])
    changes = [
        Change("del", "a"),
        Change("zadd", "a", "m", 1),
        Change("del", "a"),
        Change("hset", "a", "z", 3),
        Change("hincrby", "a", "z", 4),
        Change("hset", "a", "gone", "g"),
        Change("hdel", "a", "gone"),
        Change("hdel", "a", "never-there"),
    ]
    assert await records.transact([], changes) == [7]
    assert await records.get_all("a") == {"z": "7"}


async def test_emptied_key_is_gone_and_can_become_another_type(records: Records) -> None:
    await records.transact([], [Change("hset", "a", "x", "1"), Change("zadd", "z", "m", 1)])
    await records.transact([], [Change("hdel", "a", "x"), Change("zrem", "z", "m")])
    assert (await records.size("a"), await records.size("z")) == (0, 0)
    assert await records.transact([], [Change("zadd", "a", "m", 1), Change("hset", "z", "x", "1")]) == []


@pytest.mark.parametrize(
    "wrong",
    [
        [Change("zadd", "jobs", "m", 1)],
        [Change("hset", "queue", "f", "v")],
        [Change("hincrby", "queue", "f", 1)],
        [Change("del", "queue"), Change("zadd", "queue", "m", 1), Change("hset", "queue", "f", "v")],
        [Change("hincrby", "jobs", "j1", 1)],
        [Change("hincrby", "jobs", "spaced", 1)],
        [Change("hincrby", "jobs", "padded", 1)],
    ],
)
async def test_nothing_applies_when_a_key_holds_the_wrong_thing(records: Records, wrong: list[Change]) -> None:
    jobs = {"j1": "text", "spaced": " 1", "padded": "007"}
    setup = [Change("hset", "jobs", name, value) for name, value in jobs.items()]
    await records.transact([], [*setup, Change("zadd", "queue", "j1", 5)])
    with pytest.raises(StoreUnavailable, match=r"(has the type|no integer)"):
        await records.transact([], [Change("hset", "jobs", "before", "x"), *wrong])
    assert await records.get_all("jobs") == jobs
    assert await records.range("queue", limit=9) == [("j1", 5.0)]


async def test_reading_a_key_as_another_type_is_an_error(records: Records) -> None:
    await records.transact([], [Change("hset", "jobs", "j1", "x"), Change("zadd", "queue", "j1", 5)])
    for read in (
        records.get("queue", ["j1"]),
        records.get_all("queue"),
        records.range("jobs", limit=1),
        records.scan("queue", "0", 5),
        records.transact([Check("zcard", "jobs", value=0)], []),
        records.transact([Check("hash", "queue", "j1", None)], []),
    ):
        with pytest.raises(StoreUnavailable):
            await read


@pytest.mark.parametrize(
    "change",
    [
        Change("hincrby", "a", "f", "1"),
        Change("hincrby", "a", "f", 1.5),
        Change("hincrby", "a", "f", 2**60),
        Change("zadd", "a", "m", "x"),
        Change("zadd", "a", "m", float("nan")),
        Change("zadd_last", "a", "m", float("nan")),
        Change("zadd_after", "a", "m", "x"),
        Change("zadd_after", "a", "m", float("nan")),
        Change("zadd_after", "a", "m", float("inf")),
        Change("hset", "", "f", "v"),
        Change("rename", "a", "b"),  # type: ignore[arg-type]
    ],
)
async def test_impossible_changes_are_refused(records: Records, change: Change) -> None:
    with pytest.raises(InvalidInput):
        await records.transact([], [Change("hset", "b", "f", "v"), change])
    assert await records.size("b") == 0


async def test_counting_up_a_text_set_in_the_same_transaction_is_refused(records: Records) -> None:
    with pytest.raises(InvalidInput):
        await records.transact([], [Change("hset", "a", "f", "x"), Change("hincrby", "a", "f", 1)])
    assert await records.size("a") == 0


async def test_get_returns_none_for_what_is_absent(records: Records) -> None:
    await records.transact([], [Change("hset", "a", "x", ""), Change("hset", "a", "n", 12)])
    assert await records.get("a", ["x", "y", "n"]) == ["", None, "12"]
    assert await records.get("nowhere", ["x"]) == [None]
    assert await records.get("a", []) == []


async def test_range_is_sorted_by_score_then_member_and_bounded(records: Records) -> None:
    scores = {"b": 2, "a": 2, "z": -1.5, "ä": 2, "late": 1_795_355_105.25}
    await records.transact([], [Change("zadd", "q", member, score) for member, score in scores.items()])
    ordered = [("z", -1.5), ("a", 2.0), ("b", 2.0), ("ä", 2.0), ("late", 1_795_355_105.25)]
    assert await records.range("q", limit=10) == ordered
    assert await records.range("q", limit=2) == ordered[:2]
    assert await records.range("q", limit=10, max_score=2) == ordered[:4]
    assert await records.range("q", limit=10, max_score=-2) == []
    assert await records.range("nowhere", limit=10) == []


async def test_member_that_is_added_last_is_above_all_others_whatever_its_score(records: Records) -> None:
    for member, score in (
        ("b", 1_800_000_000.5),
        ("c", 5.0),
        ("a", 1_800_000_000.0),
        ("d", 1_900_000_000.0),
        ("b", 1.0),
    ):
        await records.transact([], [Change("zadd_last", "ended", member, score)])
    found = await records.range("ended", limit=10)
    assert [member for member, _ in found] == ["c", "a", "d", "b"]
    assert found[2][1] == 1_900_000_000.0


async def test_score_after_is_the_stores_time_plus_a_delay(records: Records) -> None:
    before = await records.now()
    await records.transact([], [Change("zadd_after", "due", "late", 60), Change("zadd_after", "due", "now", 0.5)])
    after = await records.now()
    scores = dict(await records.range("due", limit=10))
    assert before + 60 - 0.001 <= scores["late"] <= after + 60 + 0.001
    assert scores["late"] - scores["now"] == pytest.approx(59.5, abs=0.001)


async def test_due_are_the_members_up_to_the_stores_time_and_those_beyond_the_horizon(records: Records) -> None:
    after = {"past": -10.0, "older": -20.0, "soon": 100.0, "absurd": 10_000.0, "worse": 10_000_000.0}
    changes = [Change("zadd_after", "due", member, seconds) for member, seconds in after.items()]
    await records.transact([], [*changes, Change("zadd", "due", "at once", 0)])
    found = await records.due("due", limit=10, horizon=3_600)
    assert [member for member, _ in found] == ["at once", "older", "past", "absurd", "worse"]
    assert found == [pair for pair in await records.range("due", limit=10) if pair[0] != "soon"]
    assert [member for member, _ in await records.due("due", limit=4, horizon=3_600)] == [
        "at once",
        "older",
        "past",
        "absurd",
    ]
    assert [member for member, _ in await records.due("due", limit=2, horizon=3_600)] == ["at once", "older"]
    assert await records.due("nowhere", limit=10, horizon=3_600) == []
    await records.transact([], [Change("hset", "hash", "f", "v")])
    with pytest.raises(StoreUnavailable):
        await records.due("hash", limit=1, horizon=1)


async def test_two_clients_see_one_time(kind: StoreKind) -> None:
    one, two = kind.records(), kind.records("other")
    await one.open(10)
    await two.open(10)
    times = [await one.now(), await two.now(), await one.now()]
    assert times == sorted(times)
    await one.close()
    await two.close()


async def test_scan_meets_every_field_of_a_hash_of_10_000_while_others_come_and_go(records: Records) -> None:
    stay = {f"stay-{i:05}": str(i) for i in range(10_000)}
    passing = [Change("hset", "big", f"passing-{i}", "x") for i in range(500)]
    await records.transact([], [*(Change("hset", "big", name, value) for name, value in stay.items()), *passing])
    assert await records.size("big") == 10_500
    found: dict[str, str] = {}
    cursor, pages = "0", 0
    while True:
        cursor, page = await records.scan("big", cursor, 1_000)
        found |= page
        if pages == 2:
            await records.transact([], [Change("hdel", "big", f"passing-{i}") for i in range(500)])
        pages += 1
        if cursor == "0":
            break
    assert {name: value for name, value in found.items() if name.startswith("stay")} == stay
    assert 2 < pages < 100
    assert await records.scan("nowhere", "0", 10) == ("0", {})


async def test_spaces_are_apart(kind: StoreKind) -> None:
    one, two = kind.records(), kind.records("cron")
    await one.transact([], [Change("hset", "jobs", "j1", "x")])
    assert await two.get_all("jobs") == {}
    await one.close()
    await two.close()
    with pytest.raises(InvalidInput, match="space"):
        kind.records("No Such")
