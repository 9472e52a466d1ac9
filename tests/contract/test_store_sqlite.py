"""What the file of an embedded cluster withstands."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker_mesos.errors import BrokerMesosError, Conflict, InvalidInput, StoreUnavailable
from broker_mesos.ports.store import Change, Check
from broker_mesos.store.memory import MemoryRecords, MemoryStore
from broker_mesos.store.sqlite import APPLICATION_ID, FILE, SCHEMA, SqliteStoreState
from tests.contract.stores import RealClock, durable, entry, step, take, task


async def opened(folder: Path) -> SqliteStoreState:
    state = SqliteStoreState(folder)
    await state.open()
    return state


async def test_what_was_answered_is_there_after_the_process_is_gone(tmp_path: Path) -> None:
    state = await opened(tmp_path / "deep" / "data")
    store, records = MemoryStore(state, RealClock()), MemoryRecords(state)
    assert await store.cell_count(3) == 3
    lease = (await take(store, "n1", cell=1)).lease
    await store.commit(step(lease, 1, [task("t1", b"\x00\xff"), task("t2")], outbox=[entry(1), entry(2, b"\xff")]))
    await store.commit(step(lease, 2, [task("t2", None)], trim=[1]))
    strange = "a\x00b\ud800\nü"
    await records.transact([], [Change("hset", "jobs", strange, strange), Change("zadd", "due", strange, 1.5)])
    # Read as another process would after this one was killed: nothing is closed before.
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in (tmp_path / "deep" / "data").glob(f"{FILE}*"):
        (copy / file.name).write_bytes(file.read_bytes())
    again = await opened(copy)
    assert durable(again) == durable(state)
    found = await take(MemoryStore(again, RealClock()), "n2", lease, cell=1)
    assert (found.tasks, [each.body for each in found.outbox]) == ({"t1": b"\x00\xff"}, [b"\xff"])
    assert found.recovering  # messages in memory are gone
    assert found.lease.term > lease.term
    await state.close()
    await again.close()


async def test_calls_of_one_moment_share_a_transaction_and_each_waits_for_it(tmp_path: Path) -> None:
    state = await opened(tmp_path)
    transactions = 0
    write = state._write

    def counting(statements: Any) -> None:
        nonlocal transactions
        transactions += 1
        write(statements)

    state._write = counting  # type: ignore[method-assign]
    records = MemoryRecords(state)
    await asyncio.gather(*(records.transact([], [Change("hincrby", "counts", "n", 1)]) for _ in range(50)))
    assert 1 <= transactions <= 3
    assert await records.get("counts", ["n"]) == ["50"]
    await state.close()


async def test_no_reader_sees_what_is_not_on_the_disk_yet(tmp_path: Path) -> None:
    state = await opened(tmp_path)
    order: list[str] = []
    write = state._write

    def noting(statements: Any) -> None:
        write(statements)
        order.append("written")

    state._write = noting  # type: ignore[method-assign]
    writer, reader = MemoryRecords(state), MemoryRecords(state)

    async def read() -> None:
        while await reader.get("jobs", ["j"]) != ["x"]:
            pass
        order.append("read")

    reading = asyncio.create_task(read())
    await writer.transact([], [Change("hset", "jobs", "j", "x")])
    await reading
    assert order == ["written", "read"]
    await state.close()


async def test_a_write_that_fails_leaves_the_facts_as_they_were_and_the_store_goes_on(tmp_path: Path) -> None:
    state = await opened(tmp_path)
    store, records = MemoryStore(state, RealClock()), MemoryRecords(state)
    lease = (await take(store, "n1")).lease
    await store.commit(step(lease, 1, [task("t1")]))
    await records.transact([], [Change("hset", "jobs", "j1", "x")])
    assert state._connection is not None
    (pages,) = state._connection.execute("PRAGMA page_count").fetchone()
    state._connection.execute(f"PRAGMA max_page_count={pages}").fetchone()
    big = "x" * 1_000_000
    calls = (
        records.transact([], [Change("hset", "jobs", "j2", big)]),
        records.transact([Check("hash", "jobs", "j1", "x")], [Change("hset", "jobs", "j1", "y")]),
        store.commit(step(lease, 2, [task("t1", None)])),
    )
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in errors] == [StoreUnavailable] * 3
    assert "full" in str(errors[0]) and "\n" not in str(errors[0])
    state._connection.execute("PRAGMA max_page_count=1000000").fetchone()

    async def available() -> dict[str, str]:
        while True:
            try:
                return await records.get_all("jobs")
            except StoreUnavailable:
                continue

    async with asyncio.timeout(90):
        assert await available() == {"j1": "x"}
    await store.commit(step(lease, 2, [task("t2")]))  # the number that failed is free again
    await records.transact([], [Change("hset", "jobs", "j2", big)])
    await state.close()
    again = await opened(tmp_path)
    assert durable(again) == durable(state)
    await again.close()


async def test_a_file_that_is_neither_written_nor_read_any_more_is_left_in_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker_mesos.store.sqlite.CLOSE_TIMEOUT_SECONDS", 0.1)
    state = await opened(tmp_path)
    assert state._connection is not None
    state._connection.close()
    records = MemoryRecords(state)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await records.transact([], [Change("hset", "jobs", "j", "x")])
    async with asyncio.timeout(90):
        await state.close()
    assert await (again := await opened(tmp_path)).close() is None  # and the lock is free
    assert again.facts.hashes == {}


async def test_a_folder_serves_one_process_at_a_time(tmp_path: Path) -> None:
    state = await opened(tmp_path)
    with pytest.raises(Conflict, match="in use by another bmesos") as caught:
        await opened(tmp_path)
    assert "\n" not in str(caught.value)
    await state.close()
    await (await opened(tmp_path)).close()


def newer(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute(f"PRAGMA user_version={SCHEMA + 1}")
    connection.close()


def foreign(file: Path) -> None:
    file.unlink()
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()


def no_database(file: Path) -> None:
    file.write_bytes(b"this is a text\n" * 1_000)


def torn(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def overwritten(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[4096:] = b"\xaa" * (len(data) - 4096)
    file.write_bytes(data)


def empty_table(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("DROP TABLE hash")
    connection.close()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (newer, "newer bmesos"),
        (foreign, "another program"),
        (no_database, "is damaged"),
        (torn, "is damaged"),
        (overwritten, "is damaged"),
        (empty_table, "is damaged"),
    ],
)
async def test_a_file_that_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, harm: Callable[[Path], None], words: str
) -> None:
    state = await opened(tmp_path)
    await MemoryRecords(state).transact([], [Change("hset", "jobs", f"j{i}", "x" * 100) for i in range(500)])
    await state.close()
    file = tmp_path / FILE
    harm(file)
    before = file.read_bytes()
    with pytest.raises(InvalidInput, match=words) as caught:
        await opened(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
    assert file.read_bytes() == before


@pytest.mark.parametrize("path", ["file", "file/below", "/proc/no-such-folder"])
async def test_a_folder_that_cannot_be_made_is_refused_in_one_line(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BrokerMesosError, match="cannot be used") as caught:
        await opened(tmp_path / path)
    assert "\n" not in str(caught.value)


async def test_the_file_is_written_through_to_the_disk(tmp_path: Path) -> None:
    state = await opened(tmp_path)
    assert state._connection is not None
    found = [state._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert found == ["wal", 2]
    assert state._connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    await state.close()
