"""`bmesos deploy reset-topology` on RabbitMQ with the exchanges and queues of the release before topic exchanges."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pika
import pytest
import redis

from broker_mesos.store import keys
from tests.e2e.cluster import Cluster
from tests.servers import RabbitMQServer, RedisServer

pytestmark = pytest.mark.servers

DAY_MS = 86_400_000
QUORUM = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000}
CLASSIC = {"x-queue-type": "classic"}
EXCHANGES = ("offers", "events", "commands", "operator")
"""Exchanges that were direct ones."""
QUEUES = {
    "operator-master": CLASSIC | {"x-expires": DAY_MS},
    "dead-letters": CLASSIC | {"x-max-length": 100_000, "x-overflow": "drop-head"},
    "agent-commands.a1": CLASSIC | {"x-expires": DAY_MS},
}
"""Queues that had these arguments."""
SAME = {
    "cell-inbox.0": QUORUM | {"x-single-active-consumer": True},
    "framework-events.batch": QUORUM | {"x-expires": 8 * DAY_MS},
    "framework-events.f1": QUORUM | {"x-expires": 8 * DAY_MS, "x-single-active-consumer": True},
}
"""Queues that have the same arguments in this release."""


@pytest.fixture
def cluster(
    rabbitmq_server: RabbitMQServer, redis_server: RedisServer, cluster_name: str, tmp_path: Path
) -> Iterator[Cluster]:
    """A stopped cluster with one agent, a1, and two frameworks, whose servers have the form of the earlier release."""
    with Cluster(rabbitmq_server.url, redis_server.url, cluster_name, tmp_path) as made:
        _declare_earlier(made)
        yield made
        for daemon in made.daemons:
            daemon.stop()
    with made.channel() as channel:
        for name in QUEUES | SAME:
            channel.queue_delete(f"bmesos-{cluster_name}.{name}")
        for name in (*EXCHANGES, "heartbeats"):
            channel.exchange_delete(f"bmesos-{cluster_name}.{name}")


def _declare_earlier(made: Cluster) -> None:
    prefix = f"bmesos-{made.name}"
    names = keys.cell(made.name, 0)
    with redis.Redis.from_url(made.redis_url) as store:
        store.hset(keys.cells(made.name), "count", 1)
        store.hset(names.agents, "a1", "{}")
        store.hset(names.frameworks, mapping={"f1": "{}", "batch": "{}"})
    with made.channel() as channel:
        for name in EXCHANGES:
            channel.exchange_declare(f"{prefix}.{name}", "direct", durable=True)
        channel.exchange_declare(f"{prefix}.heartbeats", "direct", durable=True)
        for name, arguments in (QUEUES | SAME).items():
            channel.queue_declare(f"{prefix}.{name}", durable=True, arguments=arguments)
        channel.queue_bind(f"{prefix}.dead-letters", f"{prefix}.offers", "x")
        channel.basic_publish(f"{prefix}.offers", "x", b"{}", pika.BasicProperties(type="X"))


def reset(cluster: Cluster, *words: str) -> CompletedProcess[str]:
    return cluster.cli("deploy", "reset-topology", *words)


def listed(cluster: Cluster) -> dict[str, int]:
    done = reset(cluster, "--dry-run", "-o", "json")
    assert done.returncode == 0, done.stderr
    return {each["name"].partition(".")[2]: each["messages"] for each in json.loads(done.stdout)}


def test_what_an_earlier_release_declared_is_deleted_and_a_cluster_starts(cluster: Cluster) -> None:
    refused = cluster.cli("master")
    assert refused.returncode == 1 and "`bmesos deploy reset-topology`" in refused.stderr
    assert len(refused.stderr.splitlines()[-1:]) == 1 and "Traceback" not in refused.stderr
    before = listed(cluster)
    assert before == dict.fromkeys([*EXCHANGES, *QUEUES], 0) | {"dead-letters": 1}
    assert listed(cluster) == before, "to list them changes nothing"
    done = reset(cluster)
    assert done.returncode == 0, done.stderr
    assert f"deleted the exchange bmesos-{cluster.name}.offers\n" in done.stdout
    assert f"deleted the queue bmesos-{cluster.name}.dead-letters, with 1 messages\n" in done.stdout
    assert reset(cluster).stdout == "nothing is of an earlier release\n"
    with cluster.channel() as channel:
        for name in SAME:
            channel.queue_declare(f"bmesos-{cluster.name}.{name}", passive=True)
    names = keys.cell(cluster.name, 0)
    with redis.Redis.from_url(cluster.redis_url) as store:
        store.delete(names.agents, names.frameworks)  # the records of this test are none
    cluster.master()
    cluster.agent()
    cluster.batch()
    cluster.ready()
    assert cluster.client().submit(["true"]).wait(timeout=60).state == "finished"
    busy = reset(cluster)
    assert (busy.returncode, busy.stdout) == (0, "nothing is of an earlier release\n")


def test_a_cluster_that_is_not_stopped_keeps_its_queues(cluster: Cluster) -> None:
    for name in ("operator-master", "cell-inbox.0"):
        with cluster.channel() as channel:
            channel.basic_consume(f"bmesos-{cluster.name}.{name}", lambda *_: None)
            before = listed(cluster)
            refused = reset(cluster)
            assert refused.returncode == 1 and refused.stderr.count("\n") == 1
            assert f"somebody consumes bmesos-{cluster.name}.{name}: stop all daemons" in refused.stderr
            assert listed(cluster) == before and before
    with cluster.channel() as channel:
        channel.basic_consume(f"bmesos-{cluster.name}.operator-master", lambda *_: None)
        assert reset(cluster, "--force").returncode == 0
        assert listed(cluster) == {}


def test_without_a_store_the_named_agents_and_frameworks_are_looked_at(cluster: Cluster) -> None:
    env = {"BMESOS_STORE_URL": ""}
    done = cluster.cli("deploy", "reset-topology", "--dry-run", env=env)
    assert "agent-commands" not in done.stdout and "--agent ID" in done.stderr
    done = cluster.cli("deploy", "reset-topology", "--dry-run", "--agent", "a1", env=env)
    assert "would delete the queue" in done.stdout and "agent-commands.a1" in done.stdout


def test_a_broker_that_cannot_be_used_is_one_line(cluster: Cluster) -> None:
    for url, code in (("amqp://127.0.0.1:1/", 4), ("amqp://guest:wrong@" + cluster.amqp_url.partition("@")[2], 4)):
        done = cluster.cli("deploy", "reset-topology", env={"BMESOS_BROKER_URL": url})
        assert done.returncode == code and done.stderr.count("\n") == 1 and "wrong" not in done.stderr
    done = cluster.cli("deploy", "reset-topology", env={"BMESOS_BROKER_URL": ""})
    assert done.returncode == 2 and "BMESOS_BROKER_URL" in done.stderr
