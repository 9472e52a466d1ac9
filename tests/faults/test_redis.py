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
    made = Keeper(
        rabbitmq_server.url, redis.url, tmp_path_factory.mktemp("faults"), masters=2, agents=2, workers=1
    )
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


def test_redis_out_of_memory_stops_work_and_says_why_until_there_is_room(
    victim: Victim, admin: Redis
):
    runs = Runs(victim, 150, SHORT).submit().under_way()
    admin.config_set("maxmemory", 1)
    until(
        "a master says why",
        lambda: any("memory" in each.text() for each in victim.of("master")),
    )
    admin.config_set("maxmemory", 0)
    runs.finished_exactly_once()
