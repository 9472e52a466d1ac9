"""What the tests in the guest look at: units of systemd, and the processes and cgroups of tasks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.e2e.waiting import until

SEEN = "BMESOS_GUEST_SEEN"
"""The variable with the file for what a test has seen; it is set in the guest only."""
BMESOS = "/opt/bmesos/bin/bmesos"
CGROUPS = Path("/sys/fs/cgroup")
LIMITS = ("memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cpu.weight")
GO = Path("/run/guest")
"""The folder in which tasks look for a file before they end."""
LONG = 900.0
"""Seconds until something must be true in a machine that is emulated."""
ALICE = 1500
"""The user id of an ordinary user of the guest."""


def seen(text: str) -> None:
    """Note a fact for the end of the report."""
    with open(os.environ[SEEN], "a") as file:
        file.write(f"{text}\n")


def ran(*words: str) -> str:
    """What a command has printed; it must end with 0."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=LONG, check=False)
    assert done.returncode == 0, done
    return done.stdout.strip()


def as_alice(*words: str) -> list[str]:
    """A command of the ordinary user, as after a login."""
    names = [f"XDG_RUNTIME_DIR=/run/user/{ALICE}", "HOME=/home/alice", f"PATH={os.environ['PATH']}"]
    return ["setpriv", f"--reuid={ALICE}", f"--regid={ALICE}", "--clear-groups", "env", "-i", *names, *words]


class Unit:
    """A service of systemd: one of the machine, or one of the ordinary user's service manager."""

    def __init__(self, name: str, *, of_user: bool = False) -> None:
        self.name = name
        self._systemctl = as_alice("systemctl", "--user") if of_user else ["systemctl"]

    def call(self, *words: str) -> str:
        """Run ``systemctl``; it must end with 0."""
        return ran(*self._systemctl, *words)

    def show(self, name: str) -> str:
        """A property of the unit."""
        return self.call("show", "--value", "-p", name, self.name)

    def is_active(self) -> bool:
        return self.show("ActiveState") == "active"

    def start(self) -> None:
        """Start it, as often as systemd tries: a machine that is emulated may miss a time-out."""
        self.call("daemon-reload")
        self.call("start", "--no-block", self.name)
        until(f"{self.name} works", self.is_active, LONG)

    def restart(self) -> None:
        """Have another process work as the service."""
        main = self.show("MainPID")
        self.call("restart", "--no-block", self.name)
        until(f"another {self.name} works", lambda: self.is_active() and self.show("MainPID") != main, LONG)

    def stop(self) -> None:
        self.call("stop", self.name)


class Task(NamedTuple):
    """The main process of a task and its cgroup."""

    pid: int
    started_at: str
    """In clock ticks since the machine has started."""
    cgroup: str
    limits: Mapping[str, str]


def command(name: str, code: int) -> str:
    """A task that goes on until ``release``, and ends with a code."""
    return f"echo begun; while [ ! -e {GO}/{name} ]; do sleep 1; done; exit {code}"


def release(name: str) -> None:
    GO.mkdir(exist_ok=True)
    (GO / name).touch()


def task(name: str) -> Task:
    """The task of that name, as soon as it runs."""
    return until(f"task {name} runs", lambda: _find(name), LONG)


def _find(name: str) -> Task | None:
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"sh") and words[1:2] == [b"-c"] and f"{GO}/{name} ".encode() in words[2]:
                stat = (folder / "stat").read_text().rpartition(")")[2].split()
                cgroup = (folder / "cgroup").read_text().strip().removeprefix("0::")
                limits = {each: (CGROUPS / cgroup[1:] / each).read_text().strip() for each in LIMITS}
                return Task(int(folder.name), stat[19], cgroup, limits)
        except (OSError, IndexError):
            continue
    return None


def cgroups_left() -> list[str]:
    """The folders of task cgroups."""
    return [str(each) for each in CGROUPS.rglob("bmesos-*-*") if each.is_dir()]
