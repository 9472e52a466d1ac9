"""A whole cluster works with exactly the rights that `bmesos deploy` gives its users."""

from __future__ import annotations

import pytest

from broker_mesos.client import Client
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from tests.e2e.waiting import until
from tests.security.secured import SecuredCluster

pytestmark = pytest.mark.servers


def web(cluster: SecuredCluster) -> Client:
    (daemon,) = cluster.of("web")
    return cluster.client(daemon.url)


def test_jobs_arrays_and_gangs_run(secured: SecuredCluster) -> None:
    client = web(secured)
    job = client.submit("echo hello", shell=True)
    assert job.wait(30).state == "finished"
    assert client.submit("true", array="1-50", cpus=0.1).wait(30).state == "finished"
    assert client.submit("true", array="1-4", gang=True, cpus=1).wait(30).state == "finished"
    early = client.submit("true", array="1-20", cpus=0.1)
    assert early.wait(30).counts["finished"] == 20


def test_output_is_read_through_the_web_server(secured: SecuredCluster) -> None:
    client = web(secured)
    job = client.submit("echo hello", shell=True)
    assert job.wait(30).state == "finished"
    (daemon,) = secured.of("web")
    shown = secured.cli("logs", job.id, url=daemon.url)
    assert (shown.returncode, shown.stdout) == (0, "hello\n")
    refused = secured.cli("logs", job.id)
    assert refused.returncode == 4 and "refused for user 'ann'" in refused.stderr


def test_quota_and_weights_are_set(secured: SecuredCluster) -> None:
    (daemon,) = secured.of("web")
    set_ = secured.cli("role", "quota", "set", "eng", "--limit", "cpus:2", url=daemon.url)
    assert set_.returncode == 0, set_.stderr
    assert web(secured).submit("true", role="eng", array="1-4").wait(30).state == "finished"
    assert secured.cli("role", "quota", "clear", "eng", url=daemon.url).returncode == 0


def test_agents_are_drained_and_activated(secured: SecuredCluster) -> None:
    (daemon,) = secured.of("web")
    for verb in ("drain", "activate"):
        done = secured.cli("agents", verb, "agent-1", url=daemon.url)
        assert done.returncode == 0, done.stderr


def test_the_doctor_finds_no_error(secured: SecuredCluster) -> None:
    (daemon,) = secured.of("web")
    done = secured.cli("doctor", url=daemon.url, env={"BMESOS_BROKER_URL": secured.amqp_url, "BMESOS_STORE_URL": ""})
    assert done.returncode == 0, done.stdout


def test_a_killed_master_is_replaced(secured: SecuredCluster) -> None:
    secured.owner(0).kill()
    secured.master(cells=2).ready()
    until("every cell has an owner", lambda: all(each.owner for each in secured.client().cluster().cells))
    assert web(secured).submit("true", array="1-20", cpus=0.1).wait(30).state == "finished"


def test_a_killed_agent_finds_its_tasks_again(secured: SecuredCluster) -> None:
    job = web(secured).submit("sleep 5", shell=True, array="1-8", cpus=1)
    until("both agents run it", lambda: job.status().counts["running"] == 8)
    agent = next(each for each in secured.of("agent") if each.name == "agent-2")
    agent.kill()
    other = {"BMESOS_BROKER_URL": secured.servers.amqp_url("agent-3")}
    refused = secured.cli("agent", "--work-dir", str(agent.work_dir), env=other)
    assert refused.returncode == 1
    assert "this is the agent agent-2, and its user on the broker is 'agent-3'" in refused.stderr
    secured._numbers["agent"] = 1  # the same name, and so the same user
    secured.agent(work_dir=agent.work_dir).ready()
    assert job.wait(30).state == "finished"


def test_no_message_was_refused(secured: SecuredCluster) -> None:
    """Every message of these tests had the sender that it must have."""
    assert secured.cli("dead-letters", "list").stdout.startswith("no dead letters")
    assert secured.consumers(Queue(QueueKind.DEAD_LETTERS)) == 0
    # And no daemon has tried what it has no right to.
    assert [daemon.name for daemon in secured.daemons if "ACCESS_REFUSED" in daemon.text()] == []
