"""Wrong servers, wrong passwords, wrong messages: a clear error in bounded time, and no harm."""

from __future__ import annotations

import json
import socket
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pika
import pytest

from broker_mesos.bus.topology import Topology
from broker_mesos.core.protocol.addresses import Exchange, Queue, QueueKind, reply_key
from broker_mesos.core.protocol.wire import MAX_BODY
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import NewCluster
from tests.servers import RedisServer, free_port

SECRET = "s3cret-Pa55word"
STORE_USERS = [["master"], ["framework", "batch"]]
BROKER_USERS = [*STORE_USERS, ["agent"], ["web", "--port", "0"]]


@pytest.fixture
def lonely(server_urls: tuple[str, str], tmp_path: Path) -> Iterator[Cluster]:
    """A cluster without any daemon yet."""
    with Cluster(*server_urls, f"t{uuid.uuid4().hex[:10]}", tmp_path, {"connect_timeout": 2}) as made:
        yield made


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Accepts connections, and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        yield server.getsockname()[1]


# -- servers that are not there -------------------------------------------------------------------------


def refused(done: Sequence[subprocess.CompletedProcess[str]], code: int, *words: str) -> None:
    """All ended with this exit code, and said why in these words, without the secret or a traceback."""
    for each in done:
        said = each.stdout + each.stderr
        assert each.returncode == code, (each.args, said)
        assert all(word in each.stderr for word in words), each.stderr
        assert SECRET not in said and "Traceback" not in said
        assert each.stderr.splitlines()[-1].startswith("bmesos: "), each.stderr


@pytest.mark.parametrize("scheme", ["amqp", "http"])
def test_nothing_listening_exits_with_4_and_names_host_and_port(lonely: Cluster, scheme: str):
    port = free_port()
    url = f"{scheme}://guest:{SECRET}@127.0.0.1:{port}"
    commands = [["status"], ["submit", "--", "true"], ["run", "--", "true"], ["wait", "job"]]
    done = lonely.cli_all([["--timeout", "1", *words] for words in commands], url=url)
    refused(done, 4, f"127.0.0.1:{port}")
    assert {each.stderr.count("\n") for each in done} == {1}


@pytest.mark.parametrize("scheme", ["amqp", "http"])
def test_a_server_that_never_answers_exits_with_4(lonely: Cluster, scheme: str, silent_port: int):
    done = lonely.cli("--timeout", "1", "status", url=f"{scheme}://127.0.0.1:{silent_port}", timeout=15)
    refused([done], 4, f"127.0.0.1:{silent_port}")


def test_a_broker_without_a_master_exits_with_4(lonely: Cluster):
    refused([lonely.cli("--timeout", "1", "status", timeout=15)], 4, "master")


def test_a_wrong_password_of_the_broker_exits_with_4_and_is_not_printed(lonely: Cluster):
    url = lonely.amqp_url.replace("guest:guest", f"guest:{SECRET}")
    where = lonely.amqp_url.rpartition("@")[2].strip("/")
    commands = [["status"], *BROKER_USERS]
    refused(lonely.cli_all(commands, url=url, env={"BMESOS_BROKER_URL": url}), 4, where, "password")


def test_a_daemon_without_its_store_exits_with_4(lonely: Cluster):
    port = free_port()
    env = {"BMESOS_STORE_URL": f"redis://:{SECRET}@127.0.0.1:{port}/0"}
    refused(
        lonely.cli_all(STORE_USERS, env=env), 4, f"Redis at 127.0.0.1:{port} cannot be reached (Connection refused): "
    )


def test_a_wrong_password_of_the_store_exits_with_4_and_is_not_printed(lonely: Cluster):
    with RedisServer(config={"requirepass": "right"}) as redis:
        env = {"BMESOS_STORE_URL": f"redis://:{SECRET}@127.0.0.1:{redis.port}/0"}
        refused(lonely.cli_all(STORE_USERS, env=env), 4, f"127.0.0.1:{redis.port}")


def test_a_redis_that_evicts_is_refused_at_start(lonely: Cluster):
    with RedisServer(config={"maxmemory-policy": "allkeys-lru"}) as redis:
        done = lonely.cli_all(STORE_USERS, env={"BMESOS_STORE_URL": redis.url})
    assert {each.returncode for each in done} == {done[0].returncode}
    assert done[0].returncode in (1, 2, 4)
    refused(done, done[0].returncode, "allkeys-lru", "noeviction")


def test_a_daemon_that_is_told_no_broker_exits_with_2(lonely: Cluster):
    refused(lonely.cli_all(BROKER_USERS, env={"BMESOS_BROKER_URL": ""}), 2, "BMESOS_BROKER_URL")


# -- clusters -------------------------------------------------------------------------------------------


def test_a_master_with_another_number_of_cells_is_refused(cluster: Cluster):
    done = cluster.cli("master", "--cells", "8", timeout=15)
    assert done.returncode == 1
    assert "8" in done.stderr and "4" in done.stderr and "cells" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_clusters_on_one_pair_of_servers_know_nothing_of_each_other(new_cluster: NewCluster):
    clusters = [new_cluster(), new_cluster()]
    for number, each in enumerate(clusters, 1):
        each.master(cells=number)
        each.agent(resources=f"cpus:{number};mem:512;disk:0;ports:[]")
        each.batch()
    for each in clusters:
        each.ready()
    jobs = [each.client().submit("echo $BMESOS_AGENT_ID") for each in clusters]
    for number, (each, job) in enumerate(zip(clusters, jobs, strict=True), 1):
        assert job.wait(20).state == "finished"
        (agent,) = each.client().agents()
        assert agent.total.as_numbers() == {"cpus": number, "mem": 512}
        assert b"".join(job.logs()).decode().strip() == agent.agent_id
        assert [one.job_id for one in each.client().jobs()] == [job.id]
        assert len(each.client().cluster().cells) == number
    assert clusters[1].cli("status", jobs[0].id).returncode == 3
    # The same servers, by a flag.
    there = clusters[0].cli("--cluster", clusters[1].name, "status", jobs[1].id)
    assert there.returncode == 0


# -- messages that nobody should send -------------------------------------------------------------------


BAD = {
    "no JSON": ("ACCEPT", b"this is not JSON", "ACCEPT"),
    "does not fit": ("ACCEPT", b'{"framework_id": 7}', "ACCEPT"),
    "unknown type": ("NO_SUCH_TYPE", b"{}", "NO_SUCH_TYPE"),
    "no type": ("", b"{}", "unknown"),
    "oversized": ("UPDATE_STATUSES", b'{"agent_id": "' + b"x" * MAX_BODY + b'"}', "bytes"),
    "no text": ("LAUNCH_TASKS", b"\xff\xfe\x00", "LAUNCH_TASKS"),
}


@pytest.mark.parametrize("where", ["cell inbox", "agent commands", "framework events"])
def test_messages_that_cannot_be_handled_are_dead_lettered_and_jobs_go_on(cluster: Cluster, where: str):
    agent_id = cluster.client().agents()[0].agent_id
    exchange, key, sender = {
        "cell inbox": (Exchange.UPDATES, "cell.1", "cell-inbox.1"),
        "agent commands": (Exchange.COMMANDS, f"agent.{agent_id}", f"agent-commands.{agent_id}"),
        "framework events": (Exchange.EVENTS, "framework.batch", "framework"),
    }[where]
    name = Topology(cluster.name).exchange(exchange)
    letters = cluster.queue_name(Queue(QueueKind.DEAD_LETTERS))
    found: dict[str, pika.BasicProperties] = {}
    with cluster.channel() as channel:
        for message_id, (type_name, body, _) in BAD.items():
            properties = pika.BasicProperties(type=type_name or None, message_id=message_id, delivery_mode=2)
            channel.basic_publish(name, key, body, properties, mandatory=True)
        for method, properties, _body in channel.consume(letters, auto_ack=True, inactivity_timeout=15):
            assert method is not None, f"only {list(found)} came to the dead letters"
            found[properties.message_id] = properties
            if set(found) == set(BAD):
                break
        channel.cancel()
    for message_id, (type_name, _, reason) in BAD.items():
        assert (found[message_id].type or "") == type_name
        headers = found[message_id].headers
        assert reason in headers["reason"]
        assert sender in (headers["from"])
    job = cluster.client().submit("true", array=8)
    assert job.wait(20).state == "finished"
    for daemon in cluster.daemons:
        assert daemon.running and "Traceback" not in daemon.text()


def test_a_malformed_operator_request_is_answered_and_harms_nothing(cluster: Cluster):
    with cluster.channel() as channel:
        names = Topology(cluster.name)
        replies = channel.queue_declare("", exclusive=True).method.queue
        reply = reply_key("guest", "bad")
        channel.queue_bind(replies, names.exchange(Exchange.REPLIES), reply)
        for key in ("master", "framework.batch", "cell.0"):
            properties = pika.BasicProperties(type="GET_JOB", reply_to=reply, correlation_id=key)
            channel.basic_publish(names.exchange(Exchange.OPERATOR), key, b"{", properties, mandatory=True)
        answers = {}
        for method, properties, body in channel.consume(replies, inactivity_timeout=15):
            assert method is not None, f"answers only from {list(answers)}"
            answers[properties.correlation_id] = json.loads(body)
            if len(answers) == 3:
                break
        channel.cancel()
    assert {answer["error"]["code"] for answer in answers.values()} == {"invalid"}
    assert cluster.cli("status").returncode == 0
