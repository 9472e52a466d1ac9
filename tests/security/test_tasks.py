"""Tasks under real agents with `security=on`: what they can reach of their agent and of other users' tasks, and which
users a principal may name. The same attempts succeed under an agent that runs tasks as itself."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker_mesos.client import Client
from broker_mesos.containerizer.credentials import missing_capabilities
from broker_mesos.containerizer.process import proctree
from tests.e2e.cluster import Daemon
from tests.e2e.waiting import until
from tests.security import task_probe
from tests.security.secured import Servers
from tests.security.test_principals import TOKENS, Guarded, entry

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(bool(missing_capabilities()), reason="needs the right to become another user"),
]

NOBODY, GAMES = "nobody", "games"
"""Two users that every machine has: that of the agent's tasks, and another that tasks may ask for."""
PYTHON = next(path for path in ("/usr/bin/python3", "/usr/local/bin/python3", sys.executable) if os.path.exists(path))

POLICY = f"""
[principal.ann]
actions = ["view", "submit", "kill:any"]
task_users = ["{GAMES}"]
tokens = [{entry("ann")}]

[principal.bob]
actions = ["view", "submit", "kill:own"]
tokens = [{entry("bob")}]

[principal.admin]
actions = ["view", "submit", "kill:any"]
task_users = ["*"]
tokens = [{entry("admin")}]
"""


class Separate(Guarded):
    """agent-1 runs tasks as users of their own, agent-2 as itself."""

    def environment(self, kind: str, name: str) -> dict[str, str]:
        found = super().environment(kind, name)
        if name == "agent-2":
            found |= {"BMESOS_SAME_USER": "1", "BMESOS_ALLOW_ROOT": "1"}
            del found["BMESOS_TASK_USER"], found["BMESOS_TASK_USERS"]
        return found


@pytest.fixture(scope="module")
def separate(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Separate]:
    folder = tmp_path_factory.mktemp("separate")
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    # The folders of pytest are closed to other users.
    work = Path(tempfile.mkdtemp(prefix="bmesos-test-", dir="/tmp"))
    work.chmod(0o711)
    try:
        with Separate(servers, folder, {"policy": policy, "task_user": NOBODY, "task_users": GAMES}) as made:
            made.master(cells=2).ready()
            made.agent(attributes="tasks:separate", work_dir=work / "agent-1")
            made.agent(attributes="tasks:same", work_dir=work / "agent-2")
            made.batch()
            made.web()._ready = True
            made.ready()
            until("the web server serves", lambda: made.as_("ann", "status").returncode == 0)
            yield made
    finally:
        shutil.rmtree(work, ignore_errors=True)


def shown(cluster: Separate, client: Client, *argv: str, kind: str = "separate", user: str | None = None) -> str:
    """What a task printed that ended well on the agent of this kind."""
    job = client.submit(list(argv), constraints=f"tasks=={kind}", task_user=user, cpus=0.1)
    ended = job.wait(60)
    (web,) = cluster.of("web")
    printed = cluster.cli("logs", job.id, url=web.url, env={"BMESOS_TOKEN": TOKENS["ann"]})
    assert ended.state == "finished", (ended, printed)
    return printed.stdout


def spawner_of(agent: Daemon) -> int:
    """The process that starts the tasks of an agent."""
    assert agent.work_dir is not None
    folder = str(agent.work_dir).encode()
    for pid, process in proctree.scan().items():
        command = proctree.read_as_owner(pid, "cmdline").split(b"\0")
        if process.parent == 1 and folder in command and any(b"spawner_main" in word for word in command):
            return pid
    raise AssertionError("the agent has no spawner")


def attempts(cluster: Separate, kind: str) -> dict[str, str]:
    """What a task could do and what not, by the names of the attempts, beside a task of another user."""
    client = cluster.client()
    agent = cluster.of("agent")[0 if kind == "separate" else 1]
    assert agent.work_dir is not None
    user = GAMES if kind == "separate" else None
    neighbour = client.submit(["sleep", "600"], constraints=f"tasks=={kind}", task_user=user, cpus=0.1)
    (task,) = until("the neighbour runs", lambda: [each for each in neighbour.tasks() if each.state == "running"])
    sandbox = agent.work_dir / "sandboxes" / task.task_id
    (neighbour_pid,) = [
        pid
        for pid in proctree.scan()
        if f"BMESOS_TASK_ID={task.task_id}".encode() in proctree.read_as_owner(pid, "environ").split(b"\0")
    ]
    (sandbox / "result").write_text("secret")
    credential = agent.work_dir.parent / "credential"
    credential.write_text("secret")
    credential.chmod(0o600)
    meta = agent.work_dir / "meta"
    probe = agent.work_dir.parent / "probe.py"
    probe.write_text(Path(task_probe.__file__).read_text())
    probe.chmod(0o644)
    arguments = [
        {"the agent": agent.pid, "the spawner": spawner_of(agent), "a task of another user": neighbour_pid},
        {
            "a credential": str(credential),
            "the agent's id": str(meta / "agent.json"),
            "the agent's journal": str(meta / "agent.journal"),
            "the agent's own folder": str(meta),
            "the work folder": str(agent.work_dir),
            "the sandboxes' folder": str(agent.work_dir / "sandboxes"),
            "another sandbox folder": str(sandbox),
            "a file of another sandbox": str(sandbox / "result"),
        },
        {"the spawner's socket": str(meta / "spawner.sock")},
    ]
    try:
        found = json.loads(shown(cluster, client, PYTHON, str(probe), json.dumps(arguments), kind=kind))
        assert len(found) == 3 * 10 + 8 + 1 + 3
        return dict(found)
    finally:
        neighbour.kill()


def test_a_task_reaches_nothing_of_its_agent_or_of_other_users(separate: Separate) -> None:
    found = attempts(separate, "separate")
    assert set(found.values()) <= {"EACCES", "EPERM"}, {
        each: answer for each, answer in found.items() if answer == "allowed"
    }


def test_a_task_that_runs_as_its_agent_reaches_all_of_it(separate: Separate) -> None:
    found = attempts(separate, "same")
    assert set(found.values()) == {"allowed"}, {each: answer for each, answer in found.items() if answer != "allowed"}


def test_no_password_or_setting_is_in_the_environment_of_a_task(separate: Separate) -> None:
    variables = shown(separate, separate.client(), "env").splitlines()
    names = {line.partition("=")[0] for line in variables}
    ours = {"BMESOS_TASK_ID", "BMESOS_AGENT_ID", "BMESOS_SANDBOX", "BMESOS_JOB_ID", "BMESOS_ATTEMPT"}
    assert {name for name in names if name.startswith("BMESOS_")} <= ours, names
    secret = separate.servers.password("rabbitmq-agent-1")
    assert not any(secret in line for line in variables)


@pytest.mark.parametrize(
    "trick",
    ["ln -s {secret} stdout", "ln -s /proc/{agent}/environ stdout", "mkfifo stdout", "mkdir stdout", "ln -s .. stdout"],
)
def test_output_that_a_task_has_replaced_is_not_read(separate: Separate, trick: str) -> None:
    agent = separate.of("agent")[0]
    credential = agent.work_dir.parent / "credential"  # type: ignore[operator]
    credential.write_text("secret")
    credential.chmod(0o600)
    text = "echo here; rm stdout; " + trick.format(secret=credential, agent=agent.pid)
    job = separate.client().submit(text, constraints="tasks==separate", cpus=0.1)
    assert job.wait(60).state == "finished"
    (web,) = separate.of("web")
    refused = separate.cli("logs", job.id, url=web.url, env={"BMESOS_TOKEN": TOKENS["ann"]}, timeout=20)
    assert refused.returncode == 2 and refused.stdout == "", refused
    assert "is not a plain file" in refused.stderr and len(refused.stderr.splitlines()) == 1


def test_a_job_is_killed_with_all_that_it_has_started(separate: Separate) -> None:
    text = "echo $$; setsid sleep 600 & echo $!; sleep 600"
    job = separate.client().submit(text, constraints="tasks==separate", task_user=GAMES, cpus=0.1)
    sandboxes = separate.of("agent")[0].work_dir / "sandboxes"  # type: ignore[operator]
    output = sandboxes / f"{job.id}.0.1" / "stdout"
    pids = until("both run", lambda: output.exists() and len(lines := output.read_text().split()) == 2 and lines)
    job.kill()
    assert job.wait(60).state == "killed"
    until("both are gone", lambda: not any(_lives(int(pid)) for pid in pids))


def _lives(pid: int) -> bool:
    process = proctree.look(pid)
    return process is not None and process.alive


@pytest.mark.parametrize(("name", "user"), [("ann", GAMES), ("admin", GAMES), ("admin", NOBODY), ("bob", "")])
def test_a_principal_names_users_that_its_policy_lists(separate: Separate, name: str, user: str) -> None:
    words = ["--task-user", user] if user else []
    done = separate.as_(name, "run", *words, "--constraint", "tasks==separate", "--", "id", "-un")
    assert (done.returncode, done.stdout) == (0, f"{user or NOBODY}\n"), done.stderr


@pytest.mark.parametrize(("name", "user"), [("ann", NOBODY), ("ann", "root"), ("bob", GAMES)])
def test_other_users_are_denied_with_the_action_and_the_principal(separate: Separate, name: str, user: str) -> None:
    done = separate.as_(name, "submit", "--task-user", user, "--", "id")
    assert done.returncode == 5, done
    assert f"'{name}' has no right to submit tasks of the user {user} (SUBMIT_JOB)" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_over_rabbitmq_a_batch_worker_denies_them(separate: Separate) -> None:
    denied = separate.cli("submit", "--task-user", NOBODY, "--", "id")
    assert denied.returncode == 5 and "'ann' has no right to submit tasks of the user nobody" in denied.stderr


def test_a_job_waits_for_an_agent_that_has_its_user(separate: Separate) -> None:
    done = separate.as_("admin", "-o", "json", "submit", "--task-user", "daemon", "--", "id")
    job_id = json.loads(done.stdout)["job_id"]
    told = until(
        "the reason is known",
        lambda: "task-user.daemon is not set" in (done := separate.as_("admin", "explain", job_id)).stdout and done,
    )
    assert told.returncode in (0, 1), told
    assert separate.as_("admin", "kill", job_id).returncode == 0
