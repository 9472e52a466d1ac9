"""The units in deploy/systemd, as systemd reads them. Without systemd-analyze (Debian's package systemd) these tests
are skipped."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from broker_mesos.cli.argv_parser import read
from broker_mesos.containerizer.credentials import NEEDED
from broker_mesos.runtime.settings import Settings

UNITS = Path(__file__).parent.parent / "deploy" / "systemd"
PROGRAM = "/opt/bmesos/bin/bmesos"
HARDENED = ("bmesos-master.service", "bmesos-batch@.service", "bmesos-web.service", "bmesos-enroll.service")
ALL = (*HARDENED, "bmesos-agent.service")
MAX_EXPOSURE = 2.5

ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed (apt install systemd)")


def service(name: str) -> dict[str, list[str]]:
    """The lines of a unit's section Service, by key."""
    found: dict[str, list[str]] = {}
    section = (UNITS / name).read_text(encoding="utf-8").partition("[Service]")[2].partition("[Install]")[0]
    for line in section.splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units, for a program that exists on this machine."""
    program = Path(sys.executable).with_name("bmesos")
    assert program.exists()
    for path in UNITS.glob("*.service"):
        (tmp_path / path.name).write_text(path.read_text().replace(PROGRAM, str(program)))
    return tmp_path


def analyze(*words: object) -> subprocess.CompletedProcess[str]:
    assert ANALYZE is not None
    return subprocess.run([ANALYZE, *map(str, words)], capture_output=True, text=True, timeout=50)


def test_there_is_a_unit_for_each_daemon() -> None:
    assert sorted(path.name for path in UNITS.glob("*.service")) == sorted(ALL)


@needs_systemd
@pytest.mark.parametrize("name", ALL)
def test_systemd_finds_nothing_wrong_with_a_unit(name: str, installed: Path) -> None:
    done = analyze("verify", "--man=no", installed / name)
    # A misspelt key is only printed: the exit code stays 0.
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_the_check_of_units_finds_a_misspelt_key(installed: Path) -> None:
    path = installed / "bmesos-master.service"
    path.write_text(path.read_text().replace("WatchdogSec=", "WatchdogSecs="))
    done = analyze("verify", "--man=no", path)
    assert "WatchdogSecs" in done.stdout + done.stderr


@needs_systemd
@pytest.mark.parametrize("name", HARDENED)
def test_a_unit_without_tasks_is_exposed_to_little(name: str, installed: Path) -> None:
    done = analyze("security", "--offline=true", installed / name)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) <= MAX_EXPOSURE


@pytest.mark.parametrize("name", ALL)
def test_a_unit_starts_a_command_of_bmesos_and_watches_it(name: str) -> None:
    found = service(name)
    (start,) = found["ExecStart"]
    program, *words = start.split()
    assert program == PROGRAM
    command = read(words)
    assert command is not None, f"bmesos has no command line {words}"
    assert (found["Type"], found["WatchdogSec"], found["Restart"]) == (["notify"], ["20"], ["on-failure"])


@pytest.mark.parametrize("name", ALL)
def test_a_unit_has_secrets_as_credentials_only(name: str) -> None:
    found = service(name)
    credentials = {value.partition(":")[0] for value in found["LoadCredential"]}
    variables = dict(value.split("=", 1) for value in found["Environment"])
    files = {value for variable, value in variables.items() if variable.endswith("_FILE")}
    assert files == {f"%d/{name}" for name in credentials}
    for variable in variables:
        setting = variable.removeprefix("BMESOS_").removesuffix("_FILE").lower()
        assert setting in Settings.model_fields, variable
    assert "://" not in (UNITS / name).read_text()
    assert found["LimitCORE"][0].partition(":")[0] == "0", "a core dump contains passwords"


def test_tasks_outlive_the_unit_of_their_agent() -> None:
    found = service("bmesos-agent.service")
    assert (found["KillMode"], found["OOMPolicy"]) == (["process"], ["continue"])
    assert "Delegate" not in found, "with cgroups of tasks in it, the unit could not be restarted on cgroup v2"
    assert found["StateDirectory"] == ["bmesos"]
    # Each of these gives the processes of one start a user or a file system of their own.
    assert not {"PrivateTmp", "DynamicUser", "ProtectSystem", "ProtectHome", "PrivateUsers"} & found.keys()


def test_the_users_of_the_agent_and_of_its_tasks_are_created() -> None:
    found = service("bmesos-agent.service")
    variables = dict(value.split("=", 1) for value in found["Environment"])
    lines = [line.split()[:2] for line in (UNITS / "sysusers.conf").read_text().splitlines() if line[:1] == "u"]
    assert lines == [["u", found["User"][0]], ["u", variables["BMESOS_TASK_USER"]]]


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed")
def test_systemd_can_create_the_users(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    command = ["systemd-sysusers", f"--root={tmp_path}", str(UNITS / "sysusers.conf")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    made = [line.split(":")[0] for line in (tmp_path / "etc" / "passwd").read_text().splitlines()]
    assert {"bmesos", "bmesos-task"} <= set(made)


def test_the_agent_has_the_capabilities_that_tasks_of_other_users_need_and_no_more() -> None:
    found = service("bmesos-agent.service")
    needed = " ".join(f"CAP_{name}" for name in sorted(NEEDED.values()))
    assert found["AmbientCapabilities"] == found["CapabilityBoundingSet"] == [needed]
    assert found["StateDirectoryMode"] == ["0711"]
