"""What is measured: private servers, one master, agents with 8 declared CPUs, one batch worker, as real
processes; and what each of them has used so far."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.e2e.cluster import Cluster
from tests.servers import RabbitMQServer, RedisServer

SLOTS = 8
_TICK = os.sysconf("SC_CLK_TCK")
_COUNTERS = ("messages_received_total", "messages_delivered_total", "messages_confirmed_total")


class Usage(NamedTuple):
    """What was used up to a moment."""

    cpu: dict[str, float]
    """CPU seconds by process."""
    tasks: float
    """CPU seconds of the tasks' own processes."""
    messages: dict[str, int]
    """By counter of the broker's; empty when that does not tell."""
    scripts: int
    """Scripts that Redis has run: commits, and transactions of the batch framework."""
    commands: int
    """Commands that Redis was sent, scripts included."""
    commits: int
    """Commits of the cells."""


class Rig:
    """A cluster that is ready, and its servers."""

    SERVERS = ("RabbitMQ", "Redis")

    def __init__(self, rabbitmq: RabbitMQServer, redis: RedisServer, cluster: Cluster) -> None:
        self.rabbitmq = rabbitmq
        self.redis = redis
        self.cluster = cluster
        self.client = cluster.client()
        self._spawner = next((pid for pid, command in cluster.left().items() if "spawner_main" in command), 0)

    def processes(self) -> dict[str, list[int]]:
        """Process ids of each kind of daemon and of the servers."""
        found: dict[str, list[int]] = {}
        for daemon in self.cluster.daemons:
            found.setdefault(daemon.kind if daemon.kind != "agent" else "the agents", []).append(daemon.pid)
        spawners = [pid for pid, command in self.cluster.left().items() if "spawner_main" in command]
        return found | {
            "the spawners": spawners,
            "RabbitMQ": _group(self.rabbitmq.pid),
            "Redis": [self.redis.pid],
        }

    def redis_memory(self) -> int:
        """Bytes that Redis holds."""
        found = re.search(r"used_memory:(\d+)", _redis(self.redis.port, "INFO memory"))
        return int(found.group(1)) if found else 0

    def usage(self) -> Usage:
        """Up to now, of a cluster with one agent."""
        pids = {daemon.kind: daemon.pid for daemon in self.cluster.daemons}
        cpu = {kind: cpu_seconds(pid) for kind, pid in pids.items()}
        cpu["spawner"] = cpu_seconds(self._spawner)
        cpu["RabbitMQ"] = sum(cpu_seconds(pid) for pid in _group(self.rabbitmq.pid))
        cpu["Redis"] = cpu_seconds(self.redis.pid)
        cpu["client"] = cpu_seconds(os.getpid())
        scripts, commands = self._redis_calls()
        return Usage(
            cpu,
            cpu_seconds(self._spawner, children=True),
            self.messages(),
            scripts,
            commands,
            self._commits(),
        )

    def messages(self) -> dict[str, int]:
        """That the broker has counted so far; empty when it does not tell."""
        try:
            text = self.rabbitmq.ctl("eval", "rabbit_global_counters:overview().")
        except Exception:  # an older or a newer broker: a figure less
            return {}
        found: dict[str, int] = {}
        for name in _COUNTERS:
            values = re.findall(rf"\b{name}\s*=>\s*(\d+)", text)
            if values:
                found[name.removeprefix("messages_").removesuffix("_total")] = sum(map(int, values))
        return found

    def _redis_calls(self) -> tuple[int, int]:
        text = _redis(self.redis.port, "INFO commandstats") + _redis(self.redis.port, "INFO stats")
        scripts = sum(int(n) for n in re.findall(r"cmdstat_eval(?:sha)?:calls=(\d+)", text))
        commands = re.search(r"total_commands_processed:(\d+)", text)
        return scripts, int(commands.group(1)) if commands else 0

    def _commits(self) -> int:
        return sum(
            int(_redis(self.redis.port, f"HGET bmesos:{{{self.cluster.name}.{cell}}}:lease commit") or 0)
            for cell in range(self.cluster.cells)
        )


@contextlib.contextmanager
def servers() -> Iterator[tuple[RabbitMQServer, RedisServer]]:
    """Private ones, with the settings that are supported. A SIGTERM from now on ends everything in order."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with RabbitMQServer() as rabbitmq, RedisServer() as redis:
        yield rabbitmq, redis


@contextlib.contextmanager
def rig(
    rabbitmq: RabbitMQServer,
    redis: RedisServer,
    cells: int = 1,
    agents: int = 1,
    name: str = "bench",
    settings: Mapping[str, object] | None = None,
) -> Iterator[Rig]:
    """A cluster on them. ``settings``: of all its processes."""
    with work_folder() as tmp, Cluster(rabbitmq.url, redis.url, name, tmp, settings) as cluster:
        start(cluster, cells, agents)
        yield Rig(rabbitmq, redis, cluster)


def start(cluster: Cluster, cells: int = 1, agents: int = 1) -> None:
    """Start the daemons of a cluster, and wait until they serve."""
    # The others may not declare the exchanges where there is security, and give up if they are missing for 10 s.
    cluster.master(cells=cells).ready()
    for _ in range(agents):
        cluster.agent(resources=f"cpus:{SLOTS};mem:16384;disk:0;ports:[]")
    cluster.batch()
    cluster.ready()


@contextlib.contextmanager
def work_folder() -> Iterator[Path]:
    """A folder for a cluster, on tmpfs where there is one: a disk's file system would be measured."""
    memory = Path("/dev/shm")
    folder = tempfile.mkdtemp(prefix="bmesos-bench-", dir=memory if os.access(memory, os.W_OK) else None)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_seconds(pids: Collection[int]) -> float:
    """CPU of some processes, exactly where the kernel tells: ticks are too coarse for an idle one."""
    total = 0
    for pid in pids:
        for entry in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                total += int(entry.read_text().split()[0])
    return total / 1e9 or sum(map(cpu_seconds, pids))


def memory(pid: int) -> int:
    """Bytes of a process: its proportional set size; 0 if it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return 1024 * int(found.group(1)) if found else 0


def cpu_seconds(pid: int, *, children: bool = False) -> float:
    """That a process has used, or those children that it has waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    at = 13 if children else 11
    return (int(fields[at]) + int(fields[at + 1])) / _TICK


def _group(leader: int) -> list[int]:
    """The processes of a group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                if os.getpgid(int(entry.name)) == leader:
                    found.append(int(entry.name))
    return found


def _redis(port: int, command: str) -> str:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as connection,
        connection.makefile("rb") as file,
    ):
        connection.sendall(command.encode() + b"\r\n")
        length = int(file.readline()[1:])
        return file.read(length).decode() if length >= 0 else ""
