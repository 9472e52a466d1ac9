"""Whoever has one user of the broker is nobody else: forged messages on a real broker are parked and not obeyed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pika
import pytest

from broker_mesos.bus.topology import Topology
from broker_mesos.core.api.agents import MarkAgentGone
from broker_mesos.core.api.dead_letters import DeadLetterView
from broker_mesos.core.api.files import ReadFile
from broker_mesos.core.api.jobs import SubmitJob
from broker_mesos.core.api.roles import RoleChange, SetRoles
from broker_mesos.core.model.agent import AgentInfo
from broker_mesos.core.model.framework import FrameworkInfo
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo, TaskStatus
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Address, cell_of
from broker_mesos.core.protocol.agent_messages import AgentHeartbeat, RegisterAgent, UnregisterAgent, UpdateStatuses
from broker_mesos.core.protocol.events import EarlyStatuses, Rescind
from broker_mesos.core.protocol.framework_messages import FrameworkHeartbeat, Kill, Subscribe, Teardown
from broker_mesos.core.protocol.wire import Message
from tests.e2e.waiting import until
from tests.security.secured import NAME, SecuredCluster

pytestmark = pytest.mark.servers

CELL = cell_of("agent-1", 2)
REGISTRATION = RegisterAgent(
    agent=AgentInfo(agent_id="agent-1", resources=Resources.parse("cpus:64")), attempt="evil.1", cells=2
)
ENDED = TaskStatus(task_id="j.0.1", state=TaskState.FINISHED, agent_id="agent-1", framework_id="batch")
BATCH = FrameworkInfo(framework_id="batch")

FORGED: list[tuple[str, Address, Message]] = [
    ("agent-3", addresses.updates(CELL), REGISTRATION),
    ("agent-3", addresses.updates(CELL), UnregisterAgent(agent_id="agent-1", session="s")),
    ("agent-3", addresses.updates(CELL), UpdateStatuses(agent_id="agent-1", session="s", statuses=(ENDED,))),
    ("agent-3", addresses.updates(CELL), UpdateStatuses(agent_id="agent-3", session="s", statuses=(ENDED,))),
    ("agent-3", addresses.updates(CELL), Teardown(framework_id="batch")),
    ("agent-3", addresses.early_statuses("batch"), EarlyStatuses(statuses=(ENDED,))),
    ("agent-3", addresses.operator_master(), SetRoles(roles={"evil": RoleChange(weight=9.0)})),
    ("f1", addresses.calls(CELL), Teardown(framework_id="batch")),
    ("f1", addresses.calls(CELL), Kill(framework_id="batch", task_ids=("j.0.1",))),
    ("f1", addresses.calls(CELL), Subscribe(framework_id="batch", framework=BATCH)),
    ("f1", addresses.calls(CELL), UnregisterAgent(agent_id="agent-1", session="s")),
]


class Forger:
    """A user's connection, which publishes what it likes."""

    def __init__(self, url: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()

    def publish(self, to: Address, kind: str, body: bytes, ident: str = "forged", **headers: Any) -> None:
        exchange, key = Topology(NAME).route(to)
        properties = pika.BasicProperties(
            type=kind,
            message_id=ident,
            headers={"bmesos-schema": 1, **headers},
            user_id=self._connection._impl.params.credentials.username,
            delivery_mode=2,
        )
        self._channel.basic_publish(exchange, key, body, properties, mandatory=True)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def cluster(secured: SecuredCluster) -> Iterator[SecuredCluster]:
    """Without dead letters, before and after."""
    secured.client().drop_dead_letters("")
    yield secured
    secured.client().drop_dead_letters("")


def forger(cluster: SecuredCluster, user: str) -> Forger:
    return Forger(cluster.servers.amqp_url(user))


def letters(cluster: SecuredCluster) -> list[DeadLetterView]:
    return list(cluster.client().dead_letters().letters)


def unharmed(cluster: SecuredCluster) -> bool:
    """Whether agent-1 is registered as it is."""
    found = next(each for each in cluster.client().agents() if each.agent_id == "agent-1")
    return (found.state.value, found.total) == ("registered", Resources.parse("cpus:4;mem:4096"))


@pytest.mark.parametrize(
    ("user", "to", "message"), FORGED, ids=[f"{message.TYPE} by {user}" for user, _, message in FORGED]
)
def test_a_forged_message_is_parked_with_its_sender(
    cluster: SecuredCluster, user: str, to: Address, message: Message
) -> None:
    made = forger(cluster, user)
    made.publish(to, message.TYPE, message.encode())
    made.close()
    (letter,) = until("it is a dead letter", lambda: letters(cluster))
    assert (letter.type, letter.message_id) == (message.TYPE, "forged")
    assert repr(user) in letter.reason
    assert cluster.client().dead_letter(letter.letter_id).headers["user"] == user
    # Nothing of it was obeyed.
    assert unharmed(cluster)
    assert "evil" not in cluster.client().config().roles
    assert [each.state for each in cluster.client().frameworks() if each.framework_id == "batch"] == ["subscribed"]


SPEC = JobSpec(command=CommandInfo(arguments=("touch", "/tmp/never")))


@pytest.mark.parametrize(
    ("user", "to", "copy", "message", "parked"),
    [
        ("agent-3", addresses.operator_master(), f"cell.{CELL}", MarkAgentGone(agent_id="agent-1"), 2),
        ("agent-3", addresses.operator_master(), "framework.batch", SubmitJob(job_id="evil", spec=SPEC), 1),
        ("agent-3", addresses.operator_master(), "agent.agent-1", ReadFile(task_id="j.0.1"), 1),
        ("agent-3", addresses.early_statuses("nobody"), "framework.batch", Rescind(offer_ids=("o1",)), 1),
        ("f1", addresses.operator_master(), f"cell.{CELL}", MarkAgentGone(agent_id="agent-1"), 0),
        ("f1", addresses.operator_master(), "framework.batch", SubmitJob(job_id="evil", spec=SPEC), 0),
        ("ann", addresses.operator_master(), "agent.agent-1", ReadFile(task_id="j.0.1"), 1),
    ],
    ids=lambda value: value.TYPE if isinstance(value, Message) else str(value) if isinstance(value, str) else "",
)
def test_a_copy_to_a_key_without_a_right_is_not_obeyed(
    cluster: SecuredCluster, user: str, to: Address, copy: str, message: Message, parked: int
) -> None:
    """RabbitMQ checks the right to the routing key of a message, and in releases before 4.1 not to those of its header
    CC: only the check of senders and principals is left. ``parked`` is the number of receivers that park it:
    masters do not know every request."""
    made = forger(cluster, user)
    try:
        made.publish(to, message.TYPE, message.encode(), CC=[copy])
    except pika.exceptions.ChannelClosedByBroker:
        parked = -1  # the broker has refused it itself
    made.close()
    if parked < 0:
        pass
    elif parked:
        found = until("every receiver has refused it", lambda: len(letters(cluster)) == parked and letters(cluster))
        assert all(repr(user) in each.reason for each in found)
    else:
        daemons = cluster.of("master") + cluster.of("batch")

        def denied() -> bool:
            lines = [each for daemon in daemons for each in daemon.events("audit")]
            return any(
                (each["principal"], each["action"], each["answer"]) == (user, message.TYPE, "denied") for each in lines
            )

        until("its principal was denied", denied)
    assert unharmed(cluster) and "evil" not in {each.job_id for each in cluster.client().jobs()}


def test_forged_heartbeats_are_dropped_and_logged(cluster: SecuredCluster) -> None:
    made = forger(cluster, "f2")
    owner = cluster.owner(CELL)
    for message in (
        AgentHeartbeat(agent_id="agent-1", session="s"),
        FrameworkHeartbeat(framework_id="ghost", framework=FrameworkInfo(framework_id="ghost")),
    ):
        made.publish(addresses.heartbeats(CELL), message.TYPE, message.encode())
    made.close()
    event = "a message is refused, since its sender is not the one that it must have"
    (record,) = until("it is in the log", lambda: [each for each in owner.events(event) if each["user"] == "f2"])
    assert record["problem"] == "AGENT_HEARTBEAT came from 'f2', and only an agent may send it"
    assert "ghost" not in {each.framework_id for each in cluster.client().frameworks()}
    assert letters(cluster) == []


def test_a_letter_that_an_agent_has_forged_is_not_sent_again(cluster: SecuredCluster) -> None:
    """Otherwise it could make a master publish a launch for another agent, by the hand of an operator."""
    made = forger(cluster, "agent-3")
    for ident, source in (("l1", "agent-commands.agent-1"), ("l2", f"cell-inbox.{CELL}")):
        headers = {"letter": ident, "from": source, "user": "master", "reason": "x", "tries": "1", "at": "1"}
        made.publish(addresses.dead(), "LAUNCH_TASKS", b"{}", ident, **headers)
    made.close()
    until("they are dead letters", lambda: len(letters(cluster)) == 2)
    for ident in ("l1", "l2"):
        done = cluster.cli("dead-letters", "retry", ident)
        assert done.returncode == 5 and "published by the user 'agent-3'" in done.stderr
    done = cluster.cli("dead-letters", "retry", "--all")
    assert done.returncode == 1 and done.stderr.count("the letter is forged") == 2
    assert {each.letter_id for each in letters(cluster)} == {"l1", "l2"}


def test_a_message_that_is_sent_again_is_still_from_its_first_sender(cluster: SecuredCluster) -> None:
    made = forger(cluster, "agent-3")
    made.publish(addresses.updates(CELL), REGISTRATION.TYPE, REGISTRATION.encode())
    made.close()
    (letter,) = until("it is a dead letter", lambda: letters(cluster))
    assert cluster.client().retry_dead_letters(letter.letter_id).settled == 1

    def again() -> DeadLetterView | None:
        found = letters(cluster)
        return found[0] if found and found[0].letter_id != letter.letter_id else None

    after = until("it is a dead letter again", again)
    assert "'agent-1' came from 'agent-3'" in after.reason and unharmed(cluster)
