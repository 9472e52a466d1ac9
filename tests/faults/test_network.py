"""Messages that come twice, or that nobody can read; connections that stall, break, or lead nowhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pika
import pytest

from broker_mesos.bus.topology import Topology
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.core.protocol.wire import MAX_BODY
from broker_mesos.errors import NotFound
from tests.e2e.cluster import until
from tests.faults.conftest import fresh
from tests.faults.namespace import Namespace
from tests.faults.proxy import Proxy
from tests.faults.support import RESOURCES, Runs, Tap, Victim
from tests.servers import RabbitMQServer, RedisServer

SHORT = "sleep 0.2"


@pytest.fixture(scope="module")
def amqp(rabbitmq_server: RabbitMQServer) -> Iterator[Proxy]:
    with Proxy(rabbitmq_server.url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def store(redis_server: RedisServer) -> Iterator[Proxy]:
    with Proxy(redis_server.url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def victim(
    rabbitmq_server: RabbitMQServer,
    redis_server: RedisServer,
    amqp: Proxy,
    store: Proxy,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Victim]:
    """One master, agent and worker of two each reach their servers through proxies."""
    with fresh(rabbitmq_server.url, redis_server.url, tmp_path_factory.mktemp("faults")) as made:
        yield made.odd_ones_out(BMESOS_BROKER_URL=amqp.url, BMESOS_STORE_URL=store.url)


def bindings(victim: Victim) -> list[tuple[str, str]]:
    """Of every queue that daemons read, but for heartbeats."""
    agents = [each.agent_id for each in victim.client().agents()]
    queues = [
        *(Queue(QueueKind.CELL_INBOX, str(cell)) for cell in range(victim.cells)),
        *(Queue(QueueKind.AGENT_COMMANDS, agent_id) for agent_id in agents),
        Queue(QueueKind.FRAMEWORK_EVENTS, "batch"),
        Queue(QueueKind.FRAMEWORK_OFFERS, "batch"),
        Queue(QueueKind.OPERATOR_FRAMEWORK, "batch"),
        Queue(QueueKind.OPERATOR_MASTER),
    ]
    topology = Topology(victim.name)
    return list(dict.fromkeys(each for queue in queues for each in topology.queue_spec(queue).bindings))


def test_every_message_twice_runs_nothing_twice(victim: Victim):
    with Tap(victim, bindings(victim), echo=True) as tap:
        runs = Runs(victim, 100, SHORT).submit()
        runs.finished_exactly_once()
    assert {"ACCEPT", "LAUNCH_TASKS", "UPDATE_STATUSES", "UPDATE", "SUBMIT_JOB"} <= set(tap.types())


def test_messages_that_nobody_can_read_are_put_aside_and_harm_no_neighbour(victim: Victim):
    runs = Runs(victim, 100, SHORT).submit().under_way()
    letters = victim.queue_name(Queue(QueueKind.DEAD_LETTERS))
    readers = {
        "updates": "UPDATE_STATUSES",
        "commands": "LAUNCH_TASKS",
        "events": "UPDATE",
        "calls": "ACCEPT",
    }
    sent = 0
    with victim.channel() as channel:
        before = channel.queue_declare(letters, passive=True).method.message_count
        for exchange, key in bindings(victim):
            name = exchange.rpartition(".")[2]
            if name not in readers or key == "all":
                continue
            for kind, body, version in (
                (readers[name], b"{", 1),
                (readers[name], b"\xff\xfe", 1),
                (readers[name], b" " * (MAX_BODY + 1), 1),
                ("SOMETHING_OF_THE_FUTURE", b"{}", 99),
                ("", b"", 1),
            ):
                properties = pika.BasicProperties(
                    type=kind, message_id=f"bad-{sent}", headers={"bmesos-schema": version}, delivery_mode=2
                )
                channel.basic_publish(exchange, key, body, properties, mandatory=True)
                sent += 1
        runs.finished_exactly_once()
        until(
            "all of them are among the dead letters",
            lambda: channel.queue_declare(letters, passive=True).method.message_count - before >= sent,
        )
    for daemon in victim.live():
        assert "Traceback" not in daemon.text()


def test_connections_reset_three_times_in_a_row_lose_nothing(victim: Victim, amqp: Proxy, store: Proxy):
    runs = Runs(victim, 100, SHORT).submit().under_way()
    for _ in range(3):
        until("there is something to reset", amqp.reset)
        store.reset()
    runs.finished_exactly_once()


def test_half_open_connections_to_the_broker_are_given_up_and_lose_nothing(victim: Victim, amqp: Proxy):
    runs = Runs(victim, 100, SHORT).submit().under_way()
    amqp.stall()
    until(
        "its agent is unreachable",
        lambda: any(each.state.value == "unreachable" for each in victim.client().agents()),
    )
    direct = victim.of("master")[0]
    until(
        "its cells went to the other",
        lambda: {e.pid for e in victim.client().cluster().cells} == {direct.pid},
    )
    amqp.flow()
    runs.finished_exactly_once()


def test_half_open_connections_to_redis_are_given_up_and_lose_nothing(victim: Victim, store: Proxy):
    victim.ready()
    _, through = victim.of("master")
    until("both masters own a cell", lambda: through.pid in {e.pid for e in victim.client().cluster().cells})
    runs = Runs(victim, 100, SHORT).submit().under_way()
    ended = len(through.events("the term ended"))
    store.stall()
    until("its owner stopped acting", lambda: len(through.events("the term ended")) > ended)
    store.flow()
    runs.finished_exactly_once()


def test_an_agent_cut_off_and_healed_goes_on_with_its_tasks(victim: Victim, rabbitmq_server: RabbitMQServer):
    with Namespace() as space, Proxy(rabbitmq_server.url, space.host) as proxy:
        with victim.with_environment(BMESOS_BROKER_URL=proxy.url, BMESOS_INSECURE_PLAINTEXT="1"):
            agent = space.call(lambda: victim.agent(resources=RESOURCES, attributes="where:away"))
        agent.ready()
        agent_id = victim.agent_id(agent)

        def state() -> str:
            """Empty while its cell does not answer, since it moves to another owner for instance."""
            agents = victim.client().agents()
            return next((each.state.value for each in agents if each.agent_id == agent_id), "")

        try:
            runs = Runs(victim, 8, "sleep 4")
            runs.words["constraints"] = "where==away"
            runs.submit()
            until("they run there", lambda: runs.begun() == 8)
            space.cut()
            until("it is unreachable", lambda: state() == "unreachable")
            until(
                "its tasks are told to be",
                lambda: {task.state for task in runs.job.tasks()} == {"unreachable"},
            )
            space.heal()
            until("it is back", lambda: state() == "registered")
            runs.finished_exactly_once()
        finally:
            space.heal()
            agent.stop()
            # If this has failed, the next attempt must find nothing of it.
            with contextlib.suppress(NotFound):
                victim.client().mark_agent_gone(agent_id)
