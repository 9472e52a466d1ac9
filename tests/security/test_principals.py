"""A cluster with a policy: who may do what, over HTTP and over RabbitMQ, as masters and batch workers decide."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import httpx
import pytest

from broker_mesos.client import Client
from broker_mesos.core.api.access import token_digest
from broker_mesos.errors import Denied
from tests.e2e.waiting import until
from tests.security.secured import SecuredCluster, Servers

pytestmark = pytest.mark.servers

TOKENS = {name: f"bm1_{name:a<8}_" + name[0] * 43 for name in ("ann", "bob", "admin", "old")}


def entry(name: str) -> str:
    expires = "2020-01-01T00:00:00Z" if name == "old" else "2100-01-01T00:00:00Z"
    return f'{{id = "{TOKENS[name][4:12]}", sha256 = "{token_digest(TOKENS[name])}", expires = {expires}}}'


POLICY = f"""
[principal.ann]
actions = ["view", "submit", "kill:own"]
roles = ["eng", "eng/*"]
tokens = [{entry("ann")}, {entry("old")}]

[principal.bob]
actions = ["view"]
tokens = [{entry("bob")}]

[principal.f1]
roles = ["eng"]

[principal.admin]
actions = ["view", "submit", "kill:any", "drain", "roles", "policy", "holdings", "letters", "gone"]
tokens = [{entry("admin")}]
"""


class Guarded(SecuredCluster):
    """Its readiness is found out with the rights of ann, who may look."""

    policy: Path

    def as_(self, name: str, *words: str) -> CompletedProcess[str]:
        """A command over HTTP with a principal's token; without one for an empty name."""
        (web,) = self.of("web")
        return self.cli(*words, url=web.url, env={"BMESOS_TOKEN": TOKENS.get(name, "")})


@pytest.fixture(scope="module")
def guarded(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    with Guarded(servers, folder, {"policy": policy}) as made:
        made.policy = policy
        made.master(cells=2).ready()
        made.master(cells=2)
        made.agent()
        made.batch()
        port = made.web()
        # Its client has no token: the web server itself states that it serves.
        port._ready = True
        made.ready()
        until("the web server serves", lambda: made.as_("ann", "status").returncode == 0)
        yield made
        # Jobs are ended over RabbitMQ by ann, who may do that with her own only.
        for job in made.client().jobs(active=True):
            assert made.as_("admin", "kill", job.job_id).returncode == 0


def test_a_token_shows_who_somebody_is(guarded: Guarded) -> None:
    for name in ("ann", "bob"):
        done = guarded.as_(name, "-o", "json", "whoami")
        assert json.loads(done.stdout)["name"] == name, done.stderr
    done = guarded.cli("whoami")  # over RabbitMQ
    assert "name:     ann" in done.stdout and "kill:own" in done.stdout
    for name in ("", "old"):
        refused = guarded.as_(name, "status")
        assert refused.returncode == 5 and "token" in refused.stderr and len(refused.stderr.splitlines()) == 1


def test_a_job_belongs_to_its_principal(guarded: Guarded) -> None:
    done = guarded.as_("ann", "-o", "json", "submit", "--role", "eng", "--", "sleep", "600")
    assert done.returncode == 0, done.stderr
    job_id = json.loads(done.stdout)["job_id"]
    (listed,) = [each for each in guarded.client().jobs() if each.job_id == job_id]
    assert listed.user == "ann"
    denied = guarded.as_("bob", "kill", job_id)
    assert denied.returncode == 5 and "'bob' has no right to kill" in denied.stderr
    assert guarded.as_("ann", "kill", job_id).returncode == 0
    until("it is killed", lambda: guarded.client().job(job_id).status().ended_at)


def test_nobody_kills_the_job_of_another_without_the_right_to(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = guarded.as_("admin", "-o", "json", "submit", "--", "sleep", "600")
    job_id = json.loads(done.stdout)["job_id"]
    until("it runs", lambda: guarded.client().job(job_id).status().counts["running"])
    denied = guarded.as_("ann", "kill", job_id)
    assert denied.returncode == 5 and "the job belongs to 'admin'" in denied.stderr
    denied = guarded.as_("ann", "kill", f"{job_id}.0.1")
    assert denied.returncode == 5, denied.stderr
    # A cell knows no owners, and so lets nobody kill its tasks who may kill only some.
    (web,) = guarded.of("web")
    monkeypatch.setenv("BMESOS_TOKEN", TOKENS["ann"])
    for url in (web.url, guarded.amqp_url):
        with Client(url, cluster=guarded.name, timeout=10) as client:
            with pytest.raises(Denied, match="'ann' has no right to kill:any"):
                client.call("KILL_TASK", {"task_id": f"{job_id}.0.1"})
    denied = guarded.cli("kill", job_id)  # over RabbitMQ she is the same
    assert denied.returncode == 5 and "the job belongs to 'admin'" in denied.stderr
    assert guarded.as_("admin", "kill", job_id).returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        ("submit", "--", "true"),
        ("submit", "--role", "ops", "--", "true"),
        ("role", "weight", "set", "eng", "3"),
        ("policy", "set", "drf"),
        ("agents", "drain", "agent-1"),
        ("agents", "gone", "agent-1"),
        ("reserve", "agent-1", "eng", "cpus:1"),
        ("dead-letters", "list"),
        ("frameworks", "readmit", "f1"),
        ("frameworks", "teardown", "f1"),
    ],
    ids=" ".join,
)
def test_every_action_needs_its_right(guarded: Guarded, words: tuple[str, ...]) -> None:
    """Over HTTP the web server decides first; over RabbitMQ masters, owners of cells and batch workers do alone."""
    for done in (guarded.as_("ann", *words), guarded.cli(*words)):
        assert done.returncode == 5, (done.stdout, done.stderr)
        assert "'ann' has no right to" in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_policy_is_read_again_on_sighup_and_a_wrong_one_is_not_used(guarded: Guarded) -> None:
    daemons = [*guarded.of("master"), *guarded.of("web"), *guarded.of("batch")]

    def reload(text: str, event: str) -> None:
        before = [len(daemon.events(event)) for daemon in daemons]
        guarded.policy.write_text(text)
        for daemon in daemons:
            daemon.signal(signal.SIGHUP)
        for daemon, count in zip(daemons, before, strict=True):
            until("it has read the policy", lambda d=daemon, c=count: len(d.events(event)) > c)

    def policies() -> list[str]:
        done = guarded.as_("bob", "-o", "json", "doctor")
        return [each["found"] for each in json.loads(done.stdout)["findings"] if each["subject"] == "access policy"]

    weight = ("role", "weight", "set", "eng", "3")
    assert guarded.as_("bob", *weight).returncode == 5
    more = POLICY.replace('[principal.bob]\nactions = ["view"]', '[principal.bob]\nactions = ["view", "roles"]')
    reload(more, "the policy was read again")
    assert guarded.as_("bob", *weight).returncode == 0
    reload("[principal", "the policy stays as it was: the file cannot be used")
    assert guarded.as_("bob", *weight).returncode == 0
    said = until("the doctor says so", lambda: [each for each in policies() if "keeps the last good one" in each])
    assert len(said) == len(daemons) and all("policy.toml is not TOML" in each for each in said)
    for kind in ("batch worker", "web server"):
        assert [each for each in said if each.startswith(f"the {kind} on ")]
    reload(POLICY, "the policy was read again")
    assert guarded.as_("bob", *weight).returncode == 5
    same = "the same at all masters, batch workers, web servers ("
    until("all daemons have it", lambda: [each.startswith(same) for each in policies()] == [True])
    event = "the policy was read again"
    for kind in ("master", "batch", "web"):
        guarded.policy.write_text(more)
        first = guarded.of(kind)[0]
        count = len(first.events(event))
        first.signal(signal.SIGHUP)
        until("one of them has read it", lambda d=first, c=count: len(d.events(event)) > c)
        until("the doctor sees the difference", lambda: ["decide differently" in each for each in policies()] == [True])
        reload(POLICY, event)
        until("all daemons have it", lambda: [each.startswith(same) for each in policies()] == [True])


class Stream:
    """Reads live updates of a web server, as a browser does."""

    def __init__(self, answer: httpx.Response) -> None:
        assert answer.status_code == 200, answer.read()
        self._lines = answer.iter_lines()

    def until(self, event: str, fits: Callable[[dict[str, Any]], bool] = lambda data: True) -> dict[str, Any]:
        """The data of the next event of a name that fits."""
        found = ""
        for line in self._lines:
            name, _, value = line.partition(": ")
            if name == "event":
                found = value
            elif name == "data" and found == event and fits(data := json.loads(value)):
                return data
        raise AssertionError(f"the stream has ended without {event}")


def test_live_updates_come_with_a_token_or_a_session_and_end_when_it_is_revoked(guarded: Guarded) -> None:
    (web,) = guarded.of("web")
    bearer = {name: {"Authorization": f"Bearer {TOKENS[name]}"} for name in ("ann", "bob")}
    with contextlib.ExitStack() as stack:
        site = httpx.Client(base_url=web.url, timeout=90.0, headers={"Origin": web.url})
        ann, bob, browser = (stack.enter_context(httpx.Client(base_url=web.url, timeout=90.0)) for _ in range(3))
        stack.enter_context(site)
        signed_in = site.post("/api/v1/session", headers=bearer["bob"])
        assert signed_in.status_code == 200, signed_in.text
        browser.cookies = site.cookies

        def reader(client: httpx.Client, headers: dict[str, str]) -> Stream:
            ask = client.stream("GET", "/api/v1/stream?topics=events,jobs", headers=headers)
            return Stream(stack.enter_context(ask))

        streams = reader(ann, bearer["ann"]), reader(bob, bearer["bob"]), reader(browser, {})
        done = guarded.as_("ann", "-o", "json", "submit", "--role", "eng", "--", "true")
        job_id = json.loads(done.stdout)["job_id"]
        for each in streams:
            each.until("event", lambda data: data["kind"] == "task.finished" and f"{job_id}.0.1" in data["ids"])
        listed = guarded.as_("bob", "-o", "json", "events", "--kind", "task.finished")
        assert job_id in listed.stdout, listed.stderr
        guarded.policy.write_text(POLICY.replace(f"tokens = [{entry('bob')}]", "tokens = []"))
        try:
            web.signal(signal.SIGHUP)
            for each in streams[1:]:
                assert "sign in again" in each.until("bye")["reason"]
            assert browser.get("/api/v1/overview").status_code == 401
            done = guarded.as_("ann", "-o", "json", "submit", "--role", "eng", "--", "true")
            job_id = json.loads(done.stdout)["job_id"]
            streams[0].until("event", lambda data: f"{job_id}.0.1" in data["ids"])
        finally:
            guarded.policy.write_text(POLICY)
            web.signal(signal.SIGHUP)
            until("bob is known again", lambda: guarded.as_("bob", "status").returncode == 0)


def test_actions_are_in_the_log_of_who_decided(guarded: Guarded) -> None:
    (web,) = guarded.of("web")
    done = guarded.as_("ann", "-o", "json", "submit", "--role", "eng/db", "--", "true")
    job_id = json.loads(done.stdout)["job_id"]
    lines = [each for each in web.events("audit") if each["on"] == job_id]
    assert [(each["principal"], each["action"], each["answer"]) for each in lines] == [("ann", "SUBMIT_JOB", "ok")]
    assert guarded.cli("agents", "drain", "agent-1").returncode == 5
    masters = [each for master in guarded.of("master") for each in master.events("audit")]
    assert ("ann", "denied") in {(each["principal"], each["answer"]) for each in masters}
    for daemon in guarded.daemons:
        assert not any(token in daemon.text() for token in TOKENS.values())


def test_a_daemon_with_a_wrong_policy_does_not_start(guarded: Guarded, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('[principal.ann]\nactions = ["fly"]\n')
    url = {"BMESOS_BROKER_URL": guarded.servers.amqp_url("web"), "BMESOS_POLICY": str(path)}
    done = guarded.cli("web", "--port", "0", env=url)
    assert done.returncode == 2 and "there is no action 'fly'" in done.stderr
    done = guarded.cli("web", "--port", "0", env={**url, "BMESOS_SECURITY": "off"})
    assert done.returncode == 2 and "a policy needs security=on" in done.stderr


def test_the_python_client_takes_a_token(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    (web,) = guarded.of("web")
    monkeypatch.setenv("BMESOS_TOKEN", TOKENS["ann"])
    with Client(web.url, timeout=10) as client:
        assert client.whoami().name == "ann"
        assert client.submit("true", role="eng").wait(30).state == "finished"


FRAMEWORK = """
import sys
from broker_mesos import FrameworkInfo, Scheduler, SchedulerDriver

class Registers(Scheduler):
    def registered(self, driver, framework_id):
        print("registered", flush=True)
        driver.stop()

name, *roles = sys.argv[1:]
sys.exit(SchedulerDriver(Registers(), FrameworkInfo(framework_id=name, roles=tuple(roles))).main())
"""


@pytest.mark.parametrize(("name", "role", "allowed"), [("f1", "eng", True), ("f1", "ops", False), ("f2", "*", False)])
def test_a_framework_subscribes_in_the_roles_of_its_entry_only(
    guarded: Guarded, name: str, role: str, allowed: bool
) -> None:
    env = {**guarded.env, "BMESOS_BROKER_URL": guarded.servers.amqp_url(name), "BMESOS_LOG_FORMAT": "text"}
    words = [sys.executable, "-c", FRAMEWORK, name, role]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, check=False)
    if allowed:
        assert (done.returncode, done.stdout) == (0, "registered\n"), done.stderr
    else:
        assert done.returncode == 1 and done.stdout == ""
        assert f"framework {name} has no right to the role {role}" in done.stderr.splitlines()[-1]
