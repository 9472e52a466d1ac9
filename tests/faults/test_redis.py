"""Redis is killed, paused, filled, wiped or set back while a job runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from broker_mesos.errors import NotFound
from tests.e2e.cluster import until
from tests.faults.conftest import Keeper
from tests.faults.support import Runs, Victim
from tests.servers import RabbitMQServer, RedisServer

SHORT = "sleep 0.2"


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A Redis for this module: the run's own is shared."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def keeper(
    rabbitmq_server: RabbitMQServer, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Keeper]:
    made = Keeper(rabbitmq_server.url, redis.url, tmp_path_factory.mktemp("faults"), masters=2, agents=2, workers=1)
    yield made
    if not redis.running:
        redis.start()
    made.close()


@pytest.fixture
def admin(redis: RedisServer) -> Iterator[Redis]:
    client = Redis.from_url(redis.url)
    yield client
    client.close()


def test_redis_killed_and_restarted_loses_nothing(victim: Victim, redis: RedisServer):
    runs = Runs(victim, 150, SHORT).submit().under_way()
    redis.kill()
    # What runs goes on without it.
    redis.start()
    runs.finished_exactly_once()


def test_redis_paused_past_the_limit_of_silence_makes_owners_step_down_and_loses_nothing(
    victim: Victim, redis: RedisServer
):
    runs = Runs(victim, 150, SHORT).submit().under_way()
    ended = sum(len(each.events("the term ended")) for each in victim.of("master"))
    redis.pause()
    until(
        "both cells' owners stopped acting",
        lambda: sum(len(each.events("the term ended")) for each in victim.of("master")) >= ended + 2,
    )
    begun = runs.begun()
    redis.resume()
    runs.finished_exactly_once()
    assert begun < 150


def test_redis_out_of_memory_stops_work_and_says_why_until_there_is_room(victim: Victim, admin: Redis):
    runs = Runs(victim, 150, SHORT).submit().under_way()
    admin.config_set("maxmemory", 1)
    until(
        "a master says why",
        lambda: any("memory" in each.text() for each in victim.of("master")),
    )
    admin.config_set("maxmemory", 0)
    runs.finished_exactly_once()


def test_redis_that_evicts_at_run_time_ends_terms_not_the_cluster(victim: Victim, admin: Redis):
    """Facts may be lost, which no one can prevent; the doctor warns of it. The cluster goes on."""
    admin.config_set("maxmemory-policy", "allkeys-random")
    admin.config_set("maxmemory", 1)
    until("everything is evicted", lambda: admin.dbsize() == 0 or admin.delete(*admin.keys()) is None)
    admin.config_set("maxmemory", 0)
    admin.config_set("maxmemory-policy", "noeviction")
    works_again(victim)


def works_again(victim: Victim) -> None:
    """Every cell has an owner, every agent is registered, and a new job runs as any."""
    victim.ready()

    def all_registered() -> bool:
        living = {each.pid for each in victim.of("agent")}
        return living == {each.pid for each in victim.client().agents() if each.state.value == "registered"}

    until("every agent is registered", all_registered)
    Runs(victim, 30, SHORT).submit().finished_exactly_once()


def test_redis_wiped_adopts_what_runs_and_works_again(victim: Victim, redis: RedisServer):
    gate = victim.tmp / "gate"
    gate.unlink(missing_ok=True)
    runs = Runs(victim, 10, f"while [ ! -e {gate} ]; do sleep 0.1; done; echo end >> {gate}.ends").submit()
    until("they run", lambda: runs.begun() == 10)
    redis.kill()
    shutil.rmtree(redis.data_dir / "appendonlydir")
    redis.start()

    def adopted() -> bool:
        return sum(not task.state.terminal for task in victim.client().tasks()) == 10

    until("what runs is adopted", adopted)
    assert sum(len(agent.used.scalars) > 0 for agent in victim.client().agents()) > 0
    with pytest.raises(NotFound):
        runs.job.status()
    works_beside = Runs(victim, 20, SHORT).submit()
    assert works_beside.ended().state == "finished"
    assert set(works_beside.counted().values()) == {1}
    gate.touch()
    ends = Path(f"{gate}.ends")
    until("they ended by themselves", lambda: ends.exists() and ends.read_text().count("end") == 10)
    runs.nothing_left()
    assert set(runs.counted().values()) == {1}


def aof(redis: RedisServer) -> Path:
    (found,) = (redis.data_dir / "appendonlydir").glob("*.incr.aof")
    return found


def test_redis_whose_file_lost_its_end_brings_the_job_to_an_end(victim: Victim, redis: RedisServer):
    """Facts of a moment are gone. What ran twice is what the store no longer knew to have run."""
    runs = Runs(victim, 100, SHORT, retries=5).submit().under_way()
    redis.kill()
    file = aof(redis)
    with file.open("rb+") as handle:
        handle.truncate(file.stat().st_size - 20_000)
    redis.start()
    assert runs.ended().state == "finished"
    assert set(runs.counted()) == {str(index) for index in range(1, 101)}
    runs.nothing_left()
    works_again(victim)


def test_redis_set_back_to_an_older_copy_brings_the_job_to_an_end(victim: Victim, redis: RedisServer, tmp_path: Path):
    runs = Runs(victim, 100, SHORT, retries=5).submit().under_way()
    older = tmp_path / "older"
    shutil.copytree(redis.data_dir / "appendonlydir", older)
    begun = runs.begun()
    until("much has happened since", lambda: runs.begun() >= begun + 30)
    redis.kill()
    shutil.rmtree(redis.data_dir / "appendonlydir")
    shutil.copytree(older, redis.data_dir / "appendonlydir")
    redis.start()
    assert runs.ended().state == "finished"
    assert set(runs.counted()) == {str(index) for index in range(1, 101)}
    runs.nothing_left()
    works_again(victim)
