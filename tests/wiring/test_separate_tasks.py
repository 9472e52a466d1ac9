"""Agents that cannot or may not run tasks as users of their own say so in one line, and do not start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from broker_mesos.containerizer.credentials import missing_capabilities
from broker_mesos.containerizer.task_users import DEFAULT_USER
from broker_mesos.errors import InvalidInput
from broker_mesos.runtime.settings import load
from broker_mesos.wiring.agent import users_of

BMESOS = Path(sys.executable).with_name("bmesos")
SECURE = {"BMESOS_SECURITY": "on"}
root = pytest.mark.skipif(bool(missing_capabilities()), reason="needs the right to become another user")
no_default_user = pytest.mark.skipif(
    subprocess.run(["getent", "passwd", DEFAULT_USER], stdout=subprocess.DEVNULL).returncode == 0,
    reason=f"this machine has the user {DEFAULT_USER}",
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("BMESOS_"):
            monkeypatch.delenv(name)


def start(tmp_path: Path, variables: Mapping[str, str], *words: str, limited: bool = False) -> tuple[int, str]:
    """The exit code of an agent without a broker, and its last line."""
    prefix = ["setpriv", "--bounding-set=-all,+dac_override", "--inh-caps=-all"] if limited else []
    done = subprocess.run(
        [*prefix, BMESOS, "agent", "--work-dir", tmp_path / "work", *words],
        env={"PATH": os.environ["PATH"], "BMESOS_BROKER_URL": "amqp://127.0.0.1:1", **variables},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.strip().splitlines()[-1]


@root
@no_default_user
def test_a_missing_user_is_final_and_says_what_to_do(tmp_path: Path) -> None:
    code, line = start(tmp_path, SECURE)
    assert code == 2 and "there is no user 'bmesos-task' on this machine" in line
    assert "useradd --system bmesos-task" in line


@root
def test_without_the_right_an_agent_with_security_needs_a_word(tmp_path: Path) -> None:
    code, line = start(tmp_path, SECURE, limited=True)
    assert code == 2 and "it lacks the capabilities CHOWN, KILL, SETGID, SETUID" in line and "--same-user" in line
    code, line = start(
        tmp_path, {**SECURE, "BMESOS_CONNECT_TIMEOUT": "0.2"}, "--same-user", "--allow-root", limited=True
    )
    assert code == 4, line


@root
def test_tasks_do_not_run_as_root_unless_that_is_said(tmp_path: Path) -> None:
    code, line = start(tmp_path, SECURE, "--same-user")
    assert code == 2 and "would run tasks as root" in line and "--allow-root" in line
    code, line = start(tmp_path, {}, "--task-user", "root")
    assert code == 2 and "tasks do not run as 'root'" in line


@root
def test_a_folder_that_keeps_the_user_out_is_final(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    code, line = start(tmp_path, {}, "--task-user", "nobody")
    assert code == 2 and "user 'nobody' cannot enter" in line and "chmod o+x" in line


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"same_user": True, "task_user": "nobody"}, "same_user runs tasks as the agent's own user: drop it"),
        ({"task_user": "a b"}, "not the name of a user of a machine"),
        ({"task_users": "eng ../x"}, "not the name of a user of a machine"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(variables: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        users_of(load(**variables))
    assert problem in str(caught.value) and "\n" not in str(caught.value)


def test_without_security_tasks_run_as_their_agent() -> None:
    assert users_of(load()) is None
    assert users_of(load(same_user=True)) is None


@root
def test_a_named_user_needs_no_security() -> None:
    found = users_of(load(task_user="nobody", task_users="games daemon"))
    assert found is not None and found.names == ["nobody", "games", "daemon"]
