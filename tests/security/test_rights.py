"""The matrix of rights: every user of RabbitMQ and Redis against everything that is not its own.

The expectations are written out here, and not derived from the code that makes the rights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pika
import pytest
import redis
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from tests.security.secured import NAME, SecuredCluster, Servers, deploy

pytestmark = pytest.mark.servers

USERS = ("agent-1", "f1", "batch", "web", "ann")
PREFIX = f"bmesos-{NAME}"

PUBLISHES = [
    ("heartbeats", "cell.0"),
    ("heartbeats", "all"),
    ("updates", "cell.0"),
    ("calls", "cell.0"),
    ("calls", "all"),
    ("offers", "framework.f2"),
    ("offers", "framework.batch"),
    ("offers", "early.f2"),
    ("events", "framework.f2"),
    ("events", "framework.batch"),
    ("commands", "agent.agent-2"),
    ("commands", "agent.agent-1"),
    ("operator", "master"),
    ("operator", "cell.0"),
    ("operator", "framework.batch"),
    ("operator", "agent.agent-2"),
    ("operator", "enroll"),
    ("feed", "job.x"),
    ("feed", "task.finished"),
    ("dead", "dead-letters"),
    ("replies", "r.agent-2.x"),
]
MAY_PUBLISH = {
    "agent-1": {
        ("heartbeats", "cell.0"),
        ("heartbeats", "all"),
        ("updates", "cell.0"),
        ("offers", "early.f2"),
        ("operator", "master"),
        ("dead", "dead-letters"),
        ("replies", "r.agent-2.x"),
    },
    "f1": {
        ("heartbeats", "cell.0"),
        ("heartbeats", "all"),
        ("calls", "cell.0"),
        ("calls", "all"),
        ("operator", "master"),
        ("dead", "dead-letters"),
    },
    "batch": {
        ("heartbeats", "cell.0"),
        ("heartbeats", "all"),
        ("calls", "cell.0"),
        ("calls", "all"),
        ("operator", "master"),
        ("operator", "cell.0"),
        ("feed", "job.x"),
        ("dead", "dead-letters"),
        ("replies", "r.agent-2.x"),
    },
    "web": {
        ("operator", "master"),
        ("operator", "cell.0"),
        ("operator", "framework.batch"),
        ("operator", "agent.agent-2"),
        ("operator", "enroll"),
    },
    "ann": {
        ("operator", "master"),
        ("operator", "cell.0"),
        ("operator", "framework.batch"),
        ("operator", "enroll"),
    },
}

BINDS = [
    ("heartbeats", "cell.0"),
    ("updates", "cell.0"),
    ("calls", "all"),
    ("dead", "dead-letters"),
    *((exchange, "#") for exchange in ("offers", "events", "commands", "operator", "feed", "replies")),
    ("offers", "framework.f2"),
    ("offers", "early.*"),
    ("events", "framework.f2"),
    ("commands", "agent.agent-2"),
    ("commands", "agent.*"),
    ("operator", "agent.agent-2"),
    ("operator", "master"),
    ("operator", "cell.0"),
    ("operator", "enroll"),
    ("feed", "job.*"),
    ("replies", "r.agent-2.x"),
    ("replies", "r.*.x"),
]
MAY_BIND = {"batch": {("feed", "job.*")}, "web": {("feed", "job.*")}}
"""Besides what is a user's own."""
OWN_BINDS = {
    "agent-1": [("commands", "agent.agent-1"), ("operator", "agent.agent-1"), ("replies", "r.agent-1.x")],
    "f1": [("offers", "framework.f1"), ("offers", "early.f1"), ("events", "framework.f1"), ("replies", "r.f1.x")],
    "batch": [("operator", "framework.batch"), ("replies", "r.batch.x")],
    "web": [("replies", "r.web.x")],
    "ann": [("replies", "r.ann.x")],
}

QUEUES = [
    "cell-inbox.0",
    "operator-master",
    "operator-framework.batch",
    "framework-offers.batch",
    "framework-events.batch",
    "framework-offers.f2",
    "framework-events.f2",
    "agent-commands.agent-2",
    "dead-letters",
]
OWN_QUEUES = {
    "f1": {"framework-offers.f1", "framework-events.f1"},
    "batch": {"framework-offers.batch", "framework-events.batch", "operator-framework.batch"},
    "agent-1": {"agent-commands.agent-1"},
}
ACTIONS: dict[str, Callable[[BlockingChannel, str], object]] = {
    "declare": lambda channel, queue: channel.queue_declare(queue, exclusive=True),
    "delete": lambda channel, queue: channel.queue_delete(queue),
    "purge": lambda channel, queue: channel.queue_purge(queue),
    "consume": lambda channel, queue: channel.basic_consume(queue, lambda *_: None),
    "get": lambda channel, queue: channel.basic_get(queue),
}


class Party:
    """A user's connection, and the broker's answers to what it tries."""

    def __init__(self, url: str) -> None:
        self.connection = pika.BlockingConnection(pika.URLParameters(url))

    def code(self, act: Callable[[BlockingChannel], object]) -> int:
        """The code with which the broker refuses something; 0 if it does not."""
        channel = self.connection.channel()
        try:
            act(channel)
            channel.queue_declare("", exclusive=True)  # answered only after what was sent before
        except ChannelClosedByBroker as error:
            return int(error.reply_code)
        channel.close()
        return 0

    def publish(self, exchange: str, key: str, user_id: str | None = None) -> int:
        # It expires at once: whatever receives it is not to be filled.
        properties = pika.BasicProperties(user_id=user_id, expiration="0")
        return self.code(lambda channel: channel.basic_publish(exchange, key, b"{}", properties))

    def bind(self, exchange: str, key: str) -> int:
        def act(channel: BlockingChannel) -> None:
            queue = channel.queue_declare("", exclusive=True).method.queue
            channel.queue_bind(queue, exchange, key)

        return self.code(act)


@pytest.fixture(params=USERS)
def party(request: pytest.FixtureRequest, secured: SecuredCluster) -> Iterator[tuple[str, Party]]:
    """Each user, while the cluster runs, so that all queues and exchanges are there."""
    made = Party(secured.servers.amqp_url(request.param))
    yield request.param, made
    made.connection.close()


def test_a_user_publishes_only_where_its_messages_go(party: tuple[str, Party]) -> None:
    user, connection = party
    refused = {(exchange, key) for exchange, key in PUBLISHES if connection.publish(f"{PREFIX}.{exchange}", key) == 403}
    assert set(PUBLISHES) - refused == MAY_PUBLISH[user]


def test_nobody_publishes_into_a_queue(party: tuple[str, Party]) -> None:
    _, connection = party
    for queue in QUEUES:
        assert connection.publish("", f"{PREFIX}.{queue}") == 403
    for exchange in ("amq.topic", "amq.direct", "amq.fanout"):
        assert connection.publish(exchange, "x") == 403


def test_a_user_receives_only_its_own_messages(party: tuple[str, Party]) -> None:
    user, connection = party
    for exchange, key in OWN_BINDS[user]:
        assert connection.bind(f"{PREFIX}.{exchange}", key) == 0, (exchange, key)
    refused = {(exchange, key) for exchange, key in BINDS if connection.bind(f"{PREFIX}.{exchange}", key) == 403}
    assert set(BINDS) - refused == MAY_BIND.get(user, set())


@pytest.mark.parametrize("action", ACTIONS)
def test_a_user_touches_no_queue_of_another(party: tuple[str, Party], action: str) -> None:
    user, connection = party
    others = [queue for queue in QUEUES if queue not in OWN_QUEUES.get(user, set())]
    codes = {
        queue: connection.code(lambda channel, q=queue: ACTIONS[action](channel, f"{PREFIX}.{q}")) for queue in others
    }
    assert codes == dict.fromkeys(others, 403)


def test_a_user_makes_and_deletes_no_exchange(party: tuple[str, Party]) -> None:
    _, connection = party
    for exchange in (f"{PREFIX}.commands", f"{PREFIX}.mine", "mine", "bmesos.commands"):
        assert connection.code(lambda channel, name=exchange: channel.exchange_delete(name)) == 403
        assert connection.code(lambda channel, name=exchange: channel.exchange_declare(name, durable=True)) == 403
    assert connection.code(lambda channel: channel.queue_declare("mine")) == 403


@pytest.mark.parametrize("other", ["master", "agent-2", "guest"])
def test_nobody_names_another_user_as_the_sender(party: tuple[str, Party], other: str) -> None:
    user, connection = party
    exchange, key = next(iter(sorted(MAY_PUBLISH[user])))
    assert connection.publish(f"{PREFIX}.{exchange}", key, user_id=other) == 406
    assert connection.publish(f"{PREFIX}.{exchange}", key, user_id=user) == 0


def test_an_agents_queue_is_taken_by_itself_alone(secured: SecuredCluster) -> None:
    """The queue that has its name is exclusive to the connection of the agent that runs."""
    connection = Party(secured.servers.amqp_url("agent-1"))
    queue = f"{PREFIX}.agent-commands.agent-1"
    assert connection.code(lambda channel: channel.queue_declare(queue, exclusive=True)) == 405
    connection.connection.close()


def test_there_is_no_guest_and_no_wrong_password(servers: Servers) -> None:
    for credentials in ("guest:guest", "master:guest", "agent-1:wrong"):
        url = f"amqp://{credentials}@127.0.0.1:{servers.rabbitmq.port}/"
        with pytest.raises(pika.exceptions.ProbableAuthenticationError):
            pika.BlockingConnection(pika.URLParameters(url))


def test_no_user_administers_the_broker_but_that_of_the_enrolment_server(servers: Servers) -> None:
    assert {each["tags"] for each in servers.definitions["users"]} == {""}
    made = json.loads(deploy(servers.folder, "rabbitmq-definitions", "--enroll"))
    assert [each["name"] for each in made["users"] if each["tags"]] == ["enroll"]


# -- Redis

FOREIGN_KEYS = {
    "master": [f"bmesos:{{{NAME}}}:batch:jobs", "bmesos:{default.0}:lease", "bmesos:{default}:cells", "other"],
    "batch": [
        f"bmesos:{{{NAME}.0}}:lease",
        f"bmesos:{{{NAME}}}:cells",
        f"bmesos:{{{NAME}}}:masters",
        f"bmesos:{{{NAME}}}:cluster:config",
        "bmesos:{default}:batch:jobs",
    ],
}
COMMANDS = [
    "FLUSHALL",
    "FLUSHDB",
    "KEYS *",
    "SCAN 0",
    "CONFIG SET maxmemory-policy allkeys-lru",
    "CONFIG REWRITE",
    "SCRIPT FLUSH",
    "SCRIPT KILL",
    "ACL LIST",
    "ACL SETUSER evil on nopass ~* +@all",
    "SHUTDOWN NOSAVE",
    "REPLICAOF 127.0.0.1 1",
    "MONITOR",
    "CLIENT LIST",
    "CLIENT KILL ID 1",
    "PUBLISH x y",
    "SUBSCRIBE x",
    "BGREWRITEAOF",
    "FUNCTION FLUSH",
    "RANDOMKEY",
]


@pytest.fixture(params=["master", "batch"])
def store(request: pytest.FixtureRequest, servers: Servers) -> Iterator[tuple[str, redis.Redis]]:
    made = redis.Redis.from_url(servers.redis_url(f"bmesos-{NAME}-{request.param}"), protocol=2)
    yield request.param, made
    made.close()


def test_a_user_of_the_store_reads_and_writes_its_own_keys_only(store: tuple[str, redis.Redis]) -> None:
    kind, client = store
    for key in FOREIGN_KEYS[kind]:
        for words in (["HGETALL", key], ["HSET", key, "a", "b"], ["DEL", key], ["ZADD", key, "1", "a"]):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*words)
        script = "return redis.call('HGETALL', KEYS[1])"
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command("EVAL", script, 1, key)
        # A key that the script has not declared is refused inside it.
        with pytest.raises(redis.exceptions.ResponseError, match=r"(?i)permission|can.t access"):
            client.execute_command("EVAL", f"return redis.call('HGETALL', '{key}')", 0)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_user_of_the_store_administers_nothing(store: tuple[str, redis.Redis], command: str) -> None:
    _, client = store
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command.split())


def test_without_a_user_nothing_is_answered(servers: Servers) -> None:
    client = redis.Redis(port=servers.redis.port, protocol=2)
    with pytest.raises(redis.exceptions.AuthenticationError):
        client.execute_command("HGETALL", f"bmesos:{{{NAME}}}:cells")
    client.close()
