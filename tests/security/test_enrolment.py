"""Agents that enrol themselves, on a real RabbitMQ with its management API."""

from __future__ import annotations

import http.client
import json
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest

from tests.e2e.cluster import Daemon
from tests.e2e.waiting import until
from tests.security.enrolling import AGENT, TOKENS, Enrolling, Servers, password, post
from tests.security.secured import NAME, deploy

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    made = Servers(tmp_path_factory.mktemp("enrolling"))
    with made.rabbitmq, made.redis:
        yield made


@pytest.fixture(scope="module")
def cluster(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Enrolling]:
    with Enrolling(servers, tmp_path_factory.mktemp("cluster")) as made:
        made.master(cells=2).ready()
        made.batch().ready()
        made.enroll_server()
        yield made
        for each in made.of("enroll"):
            each.stop()


@pytest.fixture
def enroll(cluster: Enrolling) -> Daemon:
    """The enrolment server, which runs."""
    running = cluster.of("enroll")
    return running[0] if running else cluster.enroll_server()


@pytest.fixture
def agent(cluster: Enrolling, enroll: Daemon) -> Iterator[Daemon]:
    """A new agent, which has enrolled itself."""
    made = cluster.agent().ready()
    yield made
    made.stop()


def refused(daemon: Daemon, code: int, *words: str) -> None:
    """It ended with this exit code, and one line that has these words."""
    assert daemon.wait() == code, daemon.text()
    lines = daemon.text().splitlines()
    assert all(word in lines[-1] for word in words) and "Traceback" not in daemon.text(), daemon.text()
    daemon._killed = daemon._ready = True


def findings(cluster: Enrolling, subject: str) -> list[dict[str, str]]:
    """What the doctor finds about this."""
    done = cluster.cli("doctor", "-o", "json")
    return [each for each in json.loads(done.stdout)["findings"] if each["subject"] == subject]


def left_users(cluster: Enrolling) -> str:
    """The line about agents that have left and still have users; empty if there is none."""
    lines = [each["found"] for each in findings(cluster, "agents") if "bmesos agents forget ID" in each["advice"]]
    return "".join(lines)


def test_a_new_agent_enrols_itself_with_the_rights_of_an_agent_and_runs_tasks(
    cluster: Enrolling, agent: Daemon
) -> None:
    user = cluster.user(agent)
    assert re.fullmatch(r"agent-[0-9a-f]{12}", user["name"]) and cluster.agent_id(agent) == user["name"]
    assert (agent.work_dir / "meta" / "broker_user.json").stat().st_mode & 0o777 == 0o600  # type: ignore[operator]
    assert cluster.client().submit(["true"]).wait(timeout=30).state == "finished"
    made = json.loads(deploy(cluster.servers.folder, "user", user["name"]))
    assert cluster.admin("GET", f"users/{user['name']}/permissions") == made["permissions"]
    found = cluster.admin("GET", f"users/{user['name']}/topic-permissions")
    key = lambda each: each["exchange"]  # noqa: E731
    assert sorted(found, key=key) == sorted(made["topic_permissions"], key=key)
    assert cluster.admin("GET", f"users/{user['name']}")["tags"] == []


def test_an_enrolled_agent_starts_again_without_the_server(cluster: Enrolling, agent: Daemon, enroll: Daemon) -> None:
    user = cluster.user(agent)
    agent.stop()
    enroll.stop()
    again = cluster.agent(work_dir=agent.work_dir).ready()
    assert cluster.agent_id(again) == user["name"] and cluster.user(again) == user
    away = cluster.cli("agents", "forget", user["name"])
    assert away.returncode == 4 and "`bmesos enroll-server`" in away.stderr, away.stderr
    # A new one waits for the server, and gives up at the end of its time.
    cluster.env["BMESOS_CONNECT_TIMEOUT"] = "1"
    refused(cluster.agent(), 4, "the enrolment server: nothing listens at")
    cluster.env["BMESOS_CONNECT_TIMEOUT"] = "60"
    waiting = cluster.agent()
    cluster.enroll_server()
    waiting.ready()
    del cluster.env["BMESOS_CONNECT_TIMEOUT"]
    for each in (again, waiting):
        each.stop()


def test_a_wrong_join_token_is_one_line_and_final(cluster: Enrolling, enroll: Daemon) -> None:
    wrong = "bj1_goodaaaa_" + "x" * 43
    for token, reason in (
        (wrong, "not known"),
        (TOKENS["old"], "has ended"),
        ("bm1_x", "not known"),
        ("", "not known"),
    ):
        status, content = cluster.ask(id="agent-x", password=password(), join_token=token)
        assert status == 403 and reason in content["error"]["message"]
    cluster.token = wrong
    try:
        agent = cluster.agent()
        refused(agent, 5, "this join token is not known")
    finally:
        cluster.token = TOKENS["good"]
    assert wrong not in agent.text() + enroll.text()
    for name in ("agent-x", cluster.user(agent)["name"]):
        assert cluster.admin("GET", f"users/{name}") is None


def test_a_join_token_is_made_and_revoked_while_the_server_runs(cluster: Enrolling, enroll: Daemon) -> None:
    body = {"id": "agent-later", "password": password(), "join_token": TOKENS["later"]}
    assert cluster.ask(**body)[0] == 403
    for names, status in ((("good", "later"), 200), (("good", "old"), 403)):
        before = len(enroll.events("the policy was read again"))
        cluster.admit(*names)
        enroll.signal(signal.SIGHUP)
        until("the policy is read", lambda n=before: len(enroll.events("the policy was read again")) > n)  # type: ignore[misc]
        assert cluster.ask(**body | {"id": f"agent-later{status}"})[0] == status


def test_a_second_agent_of_the_same_id_is_refused_and_an_operator_frees_the_id(
    cluster: Enrolling, agent: Daemon
) -> None:
    user = cluster.user(agent)
    other = cluster.tmp / "other"
    (other / "meta").mkdir(parents=True)
    (other / "meta" / "agent.json").write_text(
        json.dumps({"agent_id": user["name"], "highest_term": 0, "boot_id": "x"})
    )
    refused(cluster.agent(work_dir=other), 1, user["name"], "another password", "bmesos agents forget")
    denied = cluster.cli(
        "agents", "forget", user["name"], url=cluster.servers.amqp_url("bob"), env={"BMESOS_BROKER_URL": ""}
    )
    assert denied.returncode == 5 and "'bob' has no right to enroll" in denied.stderr
    done = cluster.cli("agents", "forget", user["name"])
    assert done.returncode == 0 and "its user was deleted" in done.stdout, done.stderr
    agent.kill()  # it has lost its connection, and would enrol again at its next start
    second = cluster.agent(work_dir=other).ready()
    assert cluster.user(second)["name"] == user["name"]
    second.stop()
    missing = cluster.cli("agents", "forget", "agent-none")
    assert missing.returncode == 3 and "no user agent-none" in missing.stderr


def test_an_agent_that_is_gone_loses_its_user_and_its_connection(cluster: Enrolling, agent: Daemon) -> None:
    user = cluster.user(agent)
    url = f"amqp://{user['name']}:{user['password']}@127.0.0.1:{cluster.servers.rabbitmq.port}/"
    connection = pika.BlockingConnection(pika.URLParameters(url))
    done = cluster.cli("agents", "gone", user["name"])
    assert done.returncode == 0 and "its user on the broker is deleted" in done.stdout, done.stderr
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match="is deleted"):
        connection.process_data_events(30)
    assert cluster.admin("GET", f"users/{user['name']}") is None
    agent.kill()
    refused(cluster.agent(work_dir=agent.work_dir), 5, "was marked as gone")
    assert cluster.admin("GET", f"users/{user['name']}") is None
    assert cluster.cli("agents", "forget", user["name"]).returncode == 0
    again = cluster.agent(work_dir=agent.work_dir).ready()
    assert cluster.user(again) == user
    again.stop()


def test_an_agent_that_has_left_keeps_its_user_until_it_is_forgotten(cluster: Enrolling, agent: Daemon) -> None:
    user = cluster.user(agent)
    while left := re.findall(r"\bagent-\w+", left_users(cluster)):  # of other tests: it names five at most
        for each in left:
            assert cluster.cli("agents", "forget", each).returncode == 0
    agent.stop()
    until("the doctor names it", lambda: user["name"] in left_users(cluster))
    done = cluster.cli("agents", "gone", user["name"])
    assert done.returncode == 3 and f"is deleted by `bmesos agents forget {user['name']}`" in done.stderr
    assert cluster.admin("GET", f"users/{user['name']}") is not None
    assert cluster.cli("agents", "forget", user["name"]).returncode == 0
    assert cluster.admin("GET", f"users/{user['name']}") is None
    assert user["name"] not in left_users(cluster)


def test_the_doctor_compares_the_policies_of_all_daemons(cluster: Enrolling, enroll: Daemon) -> None:
    kinds = "masters, batch workers, enrolment servers"
    (same,) = findings(cluster, "access policy")
    assert same["found"].startswith(f"the same at all {kinds} (")
    before = len(enroll.events("the policy was read again"))
    cluster.admit("good", "old", "later")
    enroll.signal(signal.SIGHUP)
    until("the policy is read", lambda: len(enroll.events("the policy was read again")) > before)
    (other,) = findings(cluster, "access policy")
    assert other["level"] == "warning" and f"(enrolment server {enroll.pid} on " in other["found"]
    cluster.admit("good", "old")
    enroll.signal(signal.SIGHUP)
    until("it is the same again", lambda: findings(cluster, "access policy") == [same])


@pytest.mark.parametrize("point", ["agent.before-enrolment", "agent.after-enrolment"])
def test_an_agent_that_is_killed_between_the_steps_is_not_locked_out(
    cluster: Enrolling, enroll: Daemon, point: str
) -> None:
    cluster.failpoints["agent"] = f"{point}=kill@1"
    killed = cluster.agent()
    assert killed.wait() == -signal.SIGKILL
    killed._killed = killed._ready = True
    again = cluster.agent(work_dir=killed.work_dir).ready()
    assert cluster.user(again)["name"] == cluster.agent_id(again)
    again.stop()


@pytest.mark.parametrize("point", ["enroll.after-user", "enroll.after-rights"])
def test_a_server_that_is_killed_between_the_steps_locks_nobody_out(cluster: Enrolling, point: str) -> None:
    for each in cluster.of("enroll"):
        each.stop()
    cluster.failpoints["enroll"] = f"{point}=kill@1"
    server = cluster.enroll_server()
    body = {"id": f"agent-{point.partition('.')[2]}", "password": password(), "join_token": TOKENS["good"]}
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        cluster.ask(**body)
    assert server.wait() == -signal.SIGKILL
    server._killed = server._ready = True
    assert (cluster.admin("GET", f"users/{body['id']}/permissions") == []) is (point == "enroll.after-user")
    cluster.enroll_server()
    status, content = cluster.ask(**body)
    assert (status, content["data"]["renewed"]) == (200, True)
    assert len(cluster.admin("GET", f"users/{body['id']}/topic-permissions")) == 4
    assert len(cluster.admin("GET", f"users/{body['id']}/permissions")) == 1


def test_of_two_agents_that_race_for_an_id_one_wins(cluster: Enrolling, enroll: Daemon) -> None:
    passwords = [password() for _ in range(6)]
    cluster.passwords.update(passwords)
    answers: dict[str, int] = {}
    start = threading.Barrier(len(passwords))

    def race(own: str) -> None:
        start.wait()
        answers[own] = cluster.ask(id="agent-race", password=own, join_token=TOKENS["good"])[0]

    threads = [threading.Thread(target=race, args=(each,)) for each in passwords]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers.values()) == [200, *[409] * 5]
    (winner,) = [own for own, status in answers.items() if status == 200]
    for own in passwords:
        url = f"amqp://agent-race:{own}@127.0.0.1:{cluster.servers.rabbitmq.port}/"
        if own == winner:
            pika.BlockingConnection(pika.URLParameters(url)).close()
        else:
            with pytest.raises(pika.exceptions.ProbableAuthenticationError):
                pika.BlockingConnection(pika.URLParameters(url))
    # The one that knows its password needs no token to have its rights set again.
    status, content = cluster.ask(id="agent-race", password=winner)
    assert (status, content["data"]["renewed"]) == (200, True)


def test_another_release_renews_the_rights_and_a_lost_user_is_made_again(
    cluster: Enrolling, agent: Daemon, enroll: Daemon
) -> None:
    user = cluster.user(agent)
    agent.stop()
    path = agent.work_dir / "meta" / "broker_user.json"  # type: ignore[operator]
    exchange = f"bmesos-{NAME}.operator"
    cluster.admin("DELETE", f"topic-permissions/%2F/{user['name']}/{exchange}")
    path.write_text(json.dumps({**user, "release": "0.0.0"}))
    again = cluster.agent(work_dir=agent.work_dir).ready()
    again.stop()
    assert cluster.user(again) == user
    found = cluster.admin("GET", f"users/{user['name']}/topic-permissions")
    assert exchange in {each["exchange"] for each in found}
    # A broker that was set up with other users: the same password is enrolled again.
    cluster.admin("DELETE", f"users/{user['name']}")
    again = cluster.agent(work_dir=agent.work_dir).ready()
    again.stop()
    assert cluster.user(again) == user
    enroll.stop()
    path.write_text(json.dumps({**user, "release": "0.0.0"}))
    again = cluster.agent(work_dir=agent.work_dir).ready()
    again.stop()
    assert "the rights on the broker are not renewed" in again.text()


def test_wrong_attempts_from_one_address_are_bounded(cluster: Enrolling, enroll: Daemon) -> None:
    wrong = {"id": "agent-x", "password": password(), "join_token": "bj1_goodaaaa_" + "y" * 43}
    bodies = [json.dumps(each).encode() for each in (wrong, wrong | {"join_token": TOKENS["good"]})]
    found = [post(cluster.port, bodies[0], "127.2.0.1")[0] for _ in range(12)]
    assert found == [403] * 10 + [429] * 2
    # The right one cannot be found out meanwhile, and others are not kept from enrolling.
    assert post(cluster.port, bodies[1], "127.2.0.1")[0] == 429
    assert post(cluster.port, bodies[1], "127.2.0.2")[0] == 200


WRONG: list[tuple[dict[str, object], str]] = [
    ({"id": "master"}, "begin with 'agent-'"),
    ({"id": "agent-"}, "begin with 'agent-'"),
    ({"id": "agent-a.b"}, "and no dot"),
    ({"id": "agent-" + "x" * 100}, "1 to 100 letters"),
    ({"id": "agent-x/../y"}, "letters"),
    ({"id": 7}, "id: "),
    ({"password": "short"}, "43 characters"),
    ({"password": "x" * 42 + "!"}, "43 characters"),
    ({"join_token": "x" * 201}, "join_token: "),
    ({"tags": "administrator"}, "tags: "),
]


@pytest.mark.parametrize(("change", "reason"), WRONG)
def test_a_body_that_is_wrong_is_refused_without_its_secrets(
    cluster: Enrolling, enroll: Daemon, change: dict[str, object], reason: str
) -> None:
    body = {"id": "agent-x", "password": password(), "join_token": TOKENS["good"]} | change
    status, content = cluster.ask(**body)
    assert status == 400 and reason in content["error"]["message"], content
    assert str(body["password"]) not in json.dumps(content) and str(body["join_token"]) not in json.dumps(content)


def test_bodies_are_bounded_and_are_json(cluster: Enrolling, enroll: Daemon) -> None:
    assert post(cluster.port, b" " * 5_000)[0] == 413
    assert post(cluster.port, b"[")[0] == post(cluster.port, b"[1]")[0] == post(cluster.port, b"[" * 4_000)[0] == 400
    assert post(cluster.port, b"{}", **{"Content-Type": "text/plain"})[0] == 415


def test_every_enrolment_is_recorded_and_no_secret_is_anywhere(cluster: Enrolling, agent: Daemon) -> None:
    name = cluster.user(agent)["name"]
    (record,) = [
        each
        for daemon in cluster.daemons
        for each in daemon.events("audit")
        if each["action"] == "ENROLL" and each["on"] == name
    ]
    assert (record["answer"], record["by"]) == ("ok", "join token goodaaaa") and record["address"] == "127.0.0.1"
    stored = [json.loads(path.read_text())["password"] for path in cluster.tmp.glob("*/meta/broker_user.json")]
    known = {*TOKENS.values(), *stored, *cluster.passwords, cluster.servers.password("rabbitmq-enroll")}
    assert stored and len(known) > len(TOKENS) + 1
    for daemon in cluster.daemons:
        assert [secret for secret in known if secret in daemon.text()] == [], daemon
        if daemon.running:
            for file in ("cmdline", "environ") if daemon.kind != "agent" else ("cmdline",):
                text = Path(f"/proc/{daemon.pid}/{file}").read_bytes().decode()
                own = {} if daemon.kind != "enroll" else {cluster.servers.password("rabbitmq-enroll")}
                assert [secret for secret in known - set(own) if secret in text] == []


def test_daemons_that_cannot_work_end_with_one_line_each(cluster: Enrolling, tmp_path: Path) -> None:
    server, agent = cluster.environment("enroll", "x"), cluster.environment("agent", "x")
    management = cluster.servers.rabbitmq.management_url.removeprefix("http://")
    ann = cluster.servers.password("rabbitmq-ann")
    cases: list[tuple[dict[str, str], dict[str, str], int, str]] = [
        (server, {"BMESOS_POLICY": ""}, 2, "security=on needs a policy"),
        (server, {"BMESOS_BROKER_URL": cluster.servers.amqp_url("ann")}, 2, "the user of an enrolment server is"),
        (server, {"BMESOS_MANAGEMENT_URL": f"http://ann:{ann}@{management}"}, 4, "refused the user 'ann'"),
        (
            server,
            {"BMESOS_MANAGEMENT_URL": "http://127.0.0.1:1", "BMESOS_CONNECT_TIMEOUT": "1"},
            4,
            "nothing listens at",
        ),
        (agent, {"BMESOS_SECURITY": "off"}, 2, "enroll_url needs security=on"),
        (agent, {"BMESOS_JOIN_TOKEN": ""}, 2, "no join token"),
    ]
    started = []
    for number, (env, change, _, _) in enumerate(cases):
        work = ("agent", "--work-dir", str(tmp_path / f"w{number}"), "--resources", AGENT)
        words = ("enroll-server", "--port", "0") if env is server else work
        started.append(cluster.cli_start(*words, env={**env, **change}))
    for program, (_, change, code, reason) in zip(started, cases, strict=True):
        _, err = program.communicate(timeout=60)
        assert program.returncode == code and reason in err.decode().splitlines()[-1], (change, err)
        assert b"Traceback" not in err and ann.encode() not in err
