"""Who may run commands beside tasks: every kind of credential, over HTTP, over RabbitMQ, and past the gateway."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pika
import pytest
from pika.exceptions import AMQPError

from broker_mesos.bus.topology import Topology
from broker_mesos.client import Client
from broker_mesos.core.api.access import token_digest
from broker_mesos.core.api.exec import AgentExec, PassExec, StartExec
from broker_mesos.core.api.jobs import GetTask, JobTask
from broker_mesos.core.protocol.addresses import Exchange
from broker_mesos.core.protocol.wire import Message
from tests.e2e.waiting import until
from tests.security.secured import SecuredCluster, Servers

pytestmark = pytest.mark.servers

TOKENS = {name: f"bm1_{name:a<8}_" + name[0] * 43 for name in ("ann", "bob", "eve", "root")}


def entry(name: str) -> str:
    return f'{{id = "{TOKENS[name][4:12]}", sha256 = "{token_digest(TOKENS[name])}", expires = 2100-01-01T00:00:00Z}}'


POLICY = f"""
[principal.ann]
actions = ["view", "submit", "kill:own", "exec:own"]
tokens = [{entry("ann")}]

[principal.bob]
actions = ["view", "submit", "kill:any"]
tokens = [{entry("bob")}]

[principal.eve]
actions = ["view", "exec:own"]
tokens = [{entry("eve")}]

[principal.root]
actions = ["view", "submit", "kill:any", "exec:any"]
tokens = [{entry("root")}]
"""


@pytest.fixture(scope="module")
def guarded(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredCluster]:
    folder = tmp_path_factory.mktemp("exec")
    (folder / "policy.toml").write_text(POLICY)
    with SecuredCluster(servers, folder, {"policy": folder / "policy.toml"}) as made:
        made.master(cells=2).ready()
        made.agent()
        made.batch()
        web = made.web()
        web._ready = True  # its client has no token
        made.ready()
        until("the web server serves", lambda: over_http(made, "ann", "status").returncode == 0)
        yield made


def over_http(cluster: SecuredCluster, name: str, *words: str) -> Any:
    return cluster.cli(*words, url=cluster.of("web")[0].url, env={"BMESOS_TOKEN": TOKENS.get(name, "")})


def over_amqp(cluster: SecuredCluster, user: str, *words: str) -> Any:
    return cluster.cli(*words, url=cluster.servers.amqp_url(user))


@pytest.fixture(scope="module")
def job(guarded: SecuredCluster) -> Iterator[str]:
    """A job of ann that runs."""
    with Client(guarded.servers.amqp_url("ann"), cluster=guarded.name, timeout=10) as client:
        made = client.submit("exec sleep 100000")
        until("it runs", lambda: client.ask(GetTask(task_id=made.id), JobTask).state == "running")
        yield made.id
        made.kill()


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        ("ann", 0, ""),
        ("root", 0, ""),
        ("bob", 5, "'bob' has no right to exec (START_EXEC)"),
        ("eve", 5, "'eve' has no right to exec:any (the task belongs to 'ann')"),
        ("", 5, "give a token"),
    ],
)
def test_a_principal_enters_a_task_over_http_only_with_the_right_to(
    guarded: SecuredCluster, job: str, name: str, code: int, text: str
) -> None:
    done = over_http(guarded, name, "exec", job, "--", "echo", "inside")
    assert (done.returncode, done.stdout) == (code, "" if code else "inside\n"), done
    assert text in done.stderr and len(done.stderr.splitlines()) == bool(code)


@pytest.mark.parametrize(
    ("user", "code", "text"), [("ann", 0, ""), ("bob", 5, "'bob' has no right to exec (PASS_EXEC)")]
)
def test_a_person_enters_a_task_over_rabbitmq_only_with_the_right_to_as_a_master_decides(
    guarded: SecuredCluster, job: str, user: str, code: int, text: str
) -> None:
    done = over_amqp(guarded, user, "exec", job, "--", "echo", "inside")
    assert (done.returncode, done.stdout) == (code, "" if code else "inside\n"), done
    assert text in done.stderr and len(done.stderr.splitlines()) == bool(code)


def publish(cluster: SecuredCluster, user: str, key: str, message: Message) -> str:
    """Publish a request as a user of the broker; returns the name of the error if the broker refuses it."""
    connection = pika.BlockingConnection(pika.URLParameters(cluster.servers.amqp_url(user)))
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        properties = pika.BasicProperties(type=message.TYPE, user_id=user, message_id=uuid.uuid4().hex)
        channel.basic_publish(
            Topology(cluster.name).exchange(Exchange.OPERATOR), key, message.encode(), properties, mandatory=True
        )
        return ""
    except AMQPError as error:
        return type(error).__name__
    finally:
        if connection.is_open:
            connection.close()


@pytest.mark.parametrize("user", ["ann", "bob", "f1", "batch", "agent-1", "agent-2"])
def test_nobody_but_masters_and_the_web_server_reaches_an_agent_with_a_command(
    guarded: SecuredCluster, job: str, user: str
) -> None:
    start = StartExec(task_id=f"{job}.0.1", exec_id=uuid.uuid4().hex, argv=("touch", f"forged-{user}"))
    assert publish(guarded, user, "agent.agent-1", AgentExec(start=start)) == "ChannelClosedByBroker"


@pytest.mark.parametrize("user", ["f1", "batch", "agent-1", "agent-2", "bob"])
def test_a_master_passes_on_no_command_of_who_has_no_right_to(guarded: SecuredCluster, job: str, user: str) -> None:
    start = StartExec(task_id=f"{job}.0.1", exec_id=uuid.uuid4().hex, argv=("touch", f"passed-{user}"))
    assert publish(guarded, user, "master", PassExec(agent_id="agent-1", start=start)) == ""
    # The masters answer in order: what follows is answered after it.
    assert over_amqp(guarded, "ann", "exec", job, "--", "ls").stdout.split() == ["stderr", "stdout"]


def test_a_command_is_in_the_log_of_actions_with_its_principal_and_not_with_its_arguments(
    guarded: SecuredCluster, job: str
) -> None:
    assert over_http(guarded, "ann", "exec", job, "--", "echo", "s3cret").returncode == 0
    assert over_amqp(guarded, "ann", "exec", job, "--", "echo", "s3cret").returncode == 0
    (web,), (master,), (agent,) = guarded.of("web"), guarded.of("master"), guarded.of("agent")
    for daemon, action in ((web, "START_EXEC"), (master, "PASS_EXEC")):
        actions = [each for each in daemon.events("audit") if each["action"] == action and each["answer"] == "ok"]
        assert actions and {each["principal"] for each in actions} <= {"ann", "root"}
        assert all(each["on"].startswith(job) for each in actions)
        assert not [each for each in daemon.events("audit") if each["action"] == "USE_EXEC"]
    begun = agent.events("exec begins")
    assert begun[-1]["principal"] == "ann" and begun[-1]["program"] == "echo"
    assert not any("s3cret" in daemon.text() for daemon in (web, master, agent))
    assert json.dumps(begun[-1])
