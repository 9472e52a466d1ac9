"""What a real Redis does to its clients: refusals, silence, full memory, foreign keys, restarts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from redis import Redis

from broker_mesos.core.protocol.records import RecordKind, Write
from broker_mesos.errors import InvalidInput, StoreUnavailable
from broker_mesos.ports.store import Change, Check, Commit, MasterInfo
from broker_mesos.store import keys
from broker_mesos.store.redis.records import RedisRecords
from broker_mesos.store.redis.store import RedisStore
from tests.contract.stores import RealClock, never_claimed
from tests.servers import RedisServer

pytestmark = pytest.mark.servers
SECRET = "s3cr3t-word"


def make(url: str, *, cluster: str = "c", timeout: float = 3.0) -> RedisStore:
    return RedisStore(url, cluster=cluster, clock=RealClock(), timeout=timeout, name="test")


def with_password(server: RedisServer, password: str, user: str = "") -> str:
    return f"redis://{user}:{password}@127.0.0.1:{server.port}/0"


@pytest.fixture
def guarded() -> Iterator[RedisServer]:
    with RedisServer(config={"requirepass": SECRET}) as server:
        yield server


@pytest.mark.parametrize("index", range(1, 5))
async def test_commit_with_one_key_of_a_wrong_type_writes_nothing(
    redis_url: str, cluster_name: str, index: int
) -> None:
    store = make(redis_url, cluster=cluster_name)
    lease = (await store.claim(0, owner="me", nonce="n", floor=0, seen=never_claimed(0))).lease
    names = keys.cell(cluster_name, 0)
    with Redis.from_url(redis_url) as raw:
        raw.rpush(names[index], "foreign")
        writes = [Write(kind, "x", b"{}") for kind in RecordKind]
        before = raw.hgetall(names.lease)
        with pytest.raises(StoreUnavailable, match="has the type list and should have the type hash"):
            await store.commit(Commit(0, lease.term, "n", 1, "c1", writes, [], [1]))
        assert raw.hgetall(names.lease) == before
        assert [raw.exists(name) for name in names] == [int(at in (0, index)) for at in range(5)]
        with pytest.raises(StoreUnavailable, match="has the type list"):
            await store.claim(0, owner="me", nonce="n2", floor=0, seen=lease)
        assert raw.hgetall(names.lease) == before
        raw.delete(names[index])
    await store.commit(Commit(0, lease.term, "n", 1, "c1", writes, [], [1]))
    await store.close()


async def test_scripts_unknown_to_the_server_are_sent_whole(private_redis: RedisServer) -> None:
    store = make(private_redis.url)
    lease = (await store.claim(0, owner="me", nonce="n", floor=0, seen=never_claimed(0))).lease
    await store.commit(Commit(0, lease.term, "n", 1, "c1"))
    with Redis.from_url(private_redis.url) as raw:
        raw.script_flush()
    await store.commit(Commit(0, lease.term, "n", 2, "c2"))
    await store.close()


async def test_server_that_evicts_is_refused_and_the_setting_named() -> None:
    with RedisServer(config={"maxmemory-policy": "allkeys-lru"}) as server:
        store = make(server.url)
        with pytest.raises(InvalidInput, match=r"allkeys-lru.*noeviction"):
            await store.open(10)
        await store.close()


async def test_policy_is_found_even_where_config_is_forbidden() -> None:
    with RedisServer(config={"maxmemory-policy": "volatile-ttl"}) as server:
        with Redis.from_url(server.url) as raw:
            raw.acl_setuser("app", enabled=True, passwords=[f"+{SECRET}"], keys="*", commands=["+@all", "-config"])
            store = make(with_password(server, SECRET, "app"))
            with pytest.raises(InvalidInput, match="volatile-ttl"):
                await store.open(10)
            raw.config_set("maxmemory-policy", "noeviction")
            await store.open(10)
            # Without INFO, too, there is nothing to go by; and claims work all the same.
            raw.acl_setuser("app", commands=["-info"])
            await store.open(10)
            claimed = await store.claim(0, owner="me", nonce="n", floor=0, seen=never_claimed(0))
            assert not (await store.claim(0, owner="me", nonce="n2", floor=0, seen=claimed.lease)).recovering
        await store.close()


async def test_wrong_password_fails_at_once_and_is_not_shown(guarded: RedisServer) -> None:
    for url in (with_password(guarded, "wr0ng"), f"redis://127.0.0.1:{guarded.port}/0"):
        store = make(url)
        async with asyncio.timeout(5):
            with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{guarded.port} refused") as raised:
                await store.open(600)
        assert "wr0ng" not in str(raised.value) and "\n" not in str(raised.value)
        await store.close()
    store = make(with_password(guarded, SECRET))
    await store.open(10)
    await store.close()


@pytest.mark.parametrize(
    "url",
    [
        f"redis://u:{SECRET[:3]}/x{SECRET}@h:1/0",
        f"http://u:{SECRET}@h:1/0",
        f"redis://u:{SECRET}@h:port/0",
        f"redis://u:{SECRET}@h:1/0?socket_timeout=99",
        "",
    ],
)
def test_url_that_cannot_be_read_is_refused_without_showing_the_password(url: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        make(url)
    assert SECRET not in str(raised.value) and SECRET[:3] not in str(raised.value)


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
@pytest.mark.parametrize(
    "end", ["/x", "/0/1", "//1", "/-1", "/0x1", "/1 ", "/1?db=2", "?db=x", "?db=1&db=2", "/0#1", "/1.0"]
)
def test_url_without_a_clear_database_is_refused(scheme: str, end: str) -> None:
    with pytest.raises(InvalidInput, match=r"database|cannot be read") as raised:
        make(f"{scheme}://:{SECRET}@127.0.0.1:1{end}")
    assert SECRET not in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("url", ["unix:///tmp/r.sock?db=x", "unix:///tmp/r.sock?db=1&db=2", "unix:///tmp/r.sock#1"])
def test_socket_url_without_a_clear_database_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"database|cannot be read"):
        make(url)


@pytest.mark.parametrize(
    ("url", "database"),
    [
        ("redis://127.0.0.1:1", 0),
        ("redis://127.0.0.1:1/", 0),
        ("rediss://127.0.0.1:1/12", 12),
        ("redis://127.0.0.1:1?db=3", 3),
        ("unix:///tmp/r.sock", 0),
        ("unix:///tmp/r.sock?db=7", 7),
    ],
)
def test_url_names_its_database(url: str, database: int) -> None:
    assert make(url)._client.get_connection_kwargs().get("db", 0) == database


async def test_url_with_tls_for_a_server_without_it_is_an_error_that_says_so(redis_url: str) -> None:
    store = make(redis_url.replace("redis://", "rediss://"), timeout=0.5)
    with pytest.raises(StoreUnavailable, match=r"did not answer within 0\.\d+ s.*port is for TLS") as raised:
        await store.open(0.7)
    assert "\n" not in str(raised.value)
    await store.close()


async def test_url_of_another_kind_of_server_is_an_error_that_says_so(rabbitmq_url: str) -> None:
    place = rabbitmq_url.rpartition("@")[2].rstrip("/")
    for scheme, words in (("redis", "in another protocol"), ("rediss", "does not use TLS at this port")):
        store = make(f"{scheme}://{place}/0")
        with pytest.raises(StoreUnavailable, match=words) as raised:
            await store.open(0.3)
        assert "\n" not in str(raised.value)
        await store.close()


async def test_what_a_server_has_said_is_told_although_no_time_is_left_for_the_last_attempt() -> None:
    attempts, silent = 0, asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        if attempts > 2:  # each attempt is repeated on a new connection
            await silent.wait()
        await reader.read(1)
        writer.write(b"AMQP 0-9-1 is spoken here\r\n" * 10)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    store = make(f"rediss://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
    with pytest.raises(StoreUnavailable, match="does not use TLS at this port"):
        await store.open(0.5)
    assert attempts > 2
    await store.close()
    silent.set()
    server.close()


async def test_unreachable_server_is_an_error_within_the_limit() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can take it
        port = unused.getsockname()[1]
        store = make(f"redis://:{SECRET}@127.0.0.1:{port}/0", timeout=0.5)
        async with asyncio.timeout(90):
            with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port} cannot be reached"):
                await store.leases()
            with pytest.raises(StoreUnavailable) as raised:
                await store.open(0.3)
        assert SECRET not in str(raised.value)
        await store.close()


async def test_open_waits_for_a_server_that_starts_later(private_redis: RedisServer) -> None:
    private_redis.stop()
    store = make(private_redis.url)
    opening = asyncio.create_task(store.open(30))
    with pytest.raises(StoreUnavailable):
        await store.leases()
    await asyncio.to_thread(private_redis.restart)
    async with asyncio.timeout(90):
        await opening
    await store.close()


async def test_paused_server_is_an_error_within_the_limit_and_works_again_afterwards(
    private_redis: RedisServer,
) -> None:
    store = make(private_redis.url, timeout=0.4)
    records = RedisRecords(private_redis.url, cluster="c", clock=RealClock(), timeout=0.4)
    await store.open(10)
    await store.cell_count(1)
    lease = (await store.claim(0, owner="me", nonce="n", floor=0, seen=never_claimed(0))).lease
    commit = Commit(0, lease.term, "n", 1, "c1", [Write(RecordKind.TASKS, "t", b"{}")])
    private_redis.pause()
    try:
        async with asyncio.timeout(90):
            for call in (
                store.commit(commit),
                store.renew(0, term=lease.term, nonce="n"),
                store.claim(0, owner="me", nonce="n2", floor=0, seen=lease),
                store.leases(),
                store.masters(),
                store.open(0.5),
                records.transact([], [Change("hset", "a", "f", "v")]),
                records.scan("a", "0", 10),
            ):
                with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{private_redis.port} did not answer"):
                    await call
    finally:
        private_redis.resume()
    await store.open(10)
    # What was sent into the silence may have been done since: the commit and the claim meet their own repeat.
    again = await store.claim(0, owner="me", nonce="n2", floor=0, seen=lease)
    number = again.lease.commit + 1
    await store.commit(Commit(0, again.lease.term, "n2", number, "c2", [Write(RecordKind.TASKS, "t", b"{}")]))
    await store.close()
    await records.close()


async def test_restarted_server_goes_unnoticed_but_puts_the_next_claim_in_recovery(
    private_redis: RedisServer,
) -> None:
    store = make(private_redis.url)
    await store.open(10)
    lease = (await store.claim(0, owner="me", nonce="n", floor=0, seen=never_claimed(0))).lease
    lease = (await store.claim(0, owner="me", nonce="n2", floor=0, seen=lease)).lease
    await store.commit(Commit(0, lease.term, "n2", 1, "c1", [Write(RecordKind.TASKS, "t", b"{}")]))
    await asyncio.to_thread(private_redis.restart)
    await store.commit(Commit(0, lease.term, "n2", 2, "c2"))
    snapshot = await store.claim(0, owner="me", nonce="n3", floor=0, seen=lease)
    assert snapshot.recovering
    assert (snapshot.lease.commit, snapshot.tasks) == (2, {"t": b"{}"})
    await store.close()


async def test_full_memory_refuses_a_commit_whole(private_redis: RedisServer) -> None:
    store = make(private_redis.url)
    records = RedisRecords(private_redis.url, cluster="c", clock=RealClock())
    await store.cell_count(1)
    lease = (await store.claim(0, owner="me", nonce="n", floor=0, seen=never_claimed(0))).lease
    await store.commit(Commit(0, lease.term, "n", 1, "c1", [Write(RecordKind.TASKS, "old", b"{}")]))
    await records.transact([], [Change("hset", "a", "old", "v")])
    with Redis.from_url(private_redis.url) as raw:
        raw.config_set("maxmemory", "1mb")
        writes = [
            Write(RecordKind.TASKS, "old", None),
            *(Write(RecordKind.TASKS, f"t{i}", b"x" * 1000) for i in range(5_000)),
        ]
        with pytest.raises(StoreUnavailable, match="memory"):
            await store.commit(Commit(0, lease.term, "n", 2, "c2", writes, [], [1]))
        with pytest.raises(StoreUnavailable, match="memory"):
            await store.renew(0, term=lease.term, nonce="n")
        with pytest.raises(StoreUnavailable, match="memory"):
            await records.transact([Check("hash", "a", "new", None)], [Change("hset", "a", "new", "v")])
        raw.config_set("maxmemory", "0")
    snapshot = await store.claim(0, owner="me", nonce="n2", floor=0, seen=lease)
    assert (snapshot.tasks, snapshot.lease.commit) == ({"old": b"{}"}, 1)
    assert await records.get_all("a") == {"old": "v"}
    await store.close()
    await records.close()


async def test_replica_refuses_writes_with_a_hint_at_the_primary(
    private_redis: RedisServer, redis_server: RedisServer
) -> None:
    with Redis.from_url(private_redis.url) as raw:
        raw.replicaof("127.0.0.1", redis_server.port)
    store = make(private_redis.url)
    with pytest.raises(StoreUnavailable, match="replica"):
        await store.claim(0, owner="me", nonce="n", floor=0, seen=never_claimed(0))
    await store.close()


async def test_connection_that_breaks_within_a_call_repeats_commits_and_never_transactions(
    private_redis: RedisServer,
) -> None:
    store = make(private_redis.url)
    records = RedisRecords(private_redis.url, cluster="c", clock=RealClock())
    lease = (await store.claim(0, owner="me", nonce="n", floor=0, seen=never_claimed(0))).lease
    await records.transact([], [Change("hincrby", "a", "n", 1)])
    with Redis.from_url(private_redis.url) as raw:

        async def until_blocked(number: int) -> None:
            async with asyncio.timeout(90):
                while raw.info("clients")["blocked_clients"] != number:
                    await asyncio.sleep(0.005)

        raw.client_pause(60_000, all=False)
        commit = asyncio.create_task(store.commit(Commit(0, lease.term, "n", 1, "c1")))
        transaction = asyncio.create_task(records.transact([], [Change("hincrby", "a", "n", 1)]))
        await until_blocked(2)
        raw.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(StoreUnavailable):
            await transaction
        await until_blocked(1)
        raw.client_unpause()
        await commit
    assert await records.get("a", ["n"]) == ["1"]
    await store.close()
    await records.close()


async def test_masters_whose_time_is_up_leave_nothing_behind(redis_url: str, cluster_name: str) -> None:
    store = make(redis_url, cluster=cluster_name)
    await store.beat(MasterInfo("gone", "h", 1, "0.1.0", 0.0), 0.01)
    with Redis.from_url(redis_url) as raw:
        async with asyncio.timeout(90):
            while raw.hkeys(keys.masters(cluster_name)) != [b"here"]:
                await store.beat(MasterInfo("here", "h", 2, "0.1.0", 0.0), 60)
    await store.close()


async def test_wiped_server_learns_the_number_of_cells_from_a_living_master(
    private_redis: RedisServer,
) -> None:
    store, young = make(private_redis.url), make(private_redis.url)
    await store.cell_count(8)
    with Redis.from_url(private_redis.url) as raw:
        raw.flushall()
    await store.beat(MasterInfo("m", "h", 1, "0.1.0", 0.0), 60)
    assert await young.cell_count(None) == 8
    await store.close()
    await young.close()


async def test_many_calls_at_once_share_the_connections(redis_url: str, cluster_name: str) -> None:
    store = make(redis_url, cluster=cluster_name)
    await store.cell_count(4)
    answers = await asyncio.gather(*(store.leases() for _ in range(300)))
    assert {len(leases) for leases in answers} == {4}
    await store.close()


async def test_cancelled_call_leaves_no_reply_for_the_next_one(private_redis: RedisServer) -> None:
    store = make(private_redis.url)
    await store.cell_count(2)
    private_redis.pause()
    try:
        call = asyncio.create_task(store.usage())
        await asyncio.wait([call], timeout=0.1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    finally:
        private_redis.resume()
    for _ in range(5):
        assert len(await store.leases()) == 2
        assert await store.masters() == []
    await store.close()


async def test_cancelled_call_ends_at_whatever_moment_that_is(redis_url: str, cluster_name: str) -> None:
    store = make(redis_url, cluster=cluster_name)
    await store.open(10)

    async def ask_on() -> None:
        while True:
            await store.masters()

    for turns in range(100):
        asking = asyncio.create_task(ask_on())
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        ended, _ = await asyncio.wait([asking], timeout=2)
        assert ended, f"cancelled after {turns} turns of the loop, it went on"
    await store.close()


async def test_health_says_what_a_server_was_told_to_do() -> None:
    config = {"appendonly": "yes", "appendfsync": "always", "maxmemory": "200mb"}
    with RedisServer(config=config) as server:
        store = make(server.url)
        health = await store.health()
        assert (health.append_only, health.fsync, health.eviction) == (True, "always", "noeviction")
        assert health.server.startswith("Redis ") and health.role == "master" and health.saving
        assert 0 < health.used_memory < health.max_memory == 200 << 20
        await store.close()


async def test_health_is_known_in_part_where_config_and_info_are_forbidden() -> None:
    with RedisServer() as server:
        with Redis.from_url(server.url) as raw:
            commands = ["+@all", "-config", "-info"]
            raw.acl_setuser("app", enabled=True, passwords=[f"+{SECRET}"], keys="*", commands=commands)
        store = make(with_password(server, SECRET, "app"))
        health = await store.health()
        assert (health.append_only, health.fsync, health.eviction, health.saving) == (None, "", "", None)
        assert health.time > 0
        await store.close()
