"""A cluster of pretended agents on servers of its own, and the programs that load it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.rig import Rig, cpu_seconds, run_seconds, servers
from tests.e2e.cluster import Cluster, Daemon

ROOT = Path(__file__).parent.parent
CELLS = 4
FRAMEWORKS = 200
ENDED = 15.0
Said = dict[str, Any]


class Program:
    """One of ours that prints JSON lines."""

    def __init__(self, cluster: Cluster, name: str, module: str, *words: str) -> None:
        self.log = cluster.tmp / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *words],
                env=cluster.env,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        self.said: list[Said] = []
        self._read = 0

    @property
    def pid(self) -> int:
        return self.process.pid

    def lines(self) -> list[Said]:
        """All that it has said so far."""
        with self.log.open("rb") as log:
            log.seek(self._read)
            new = log.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            if line.startswith(b"{"):
                with contextlib.suppress(ValueError):
                    self.said.append(json.loads(line))
        return self.said

    def last(self, name: str) -> float:
        """What the last line says; 0 before there is one."""
        lines = self.lines()
        return float(lines[-1].get(name, 0)) if lines else 0.0

    def end(self) -> None:
        """SIGTERM, then SIGKILL."""
        self.process.terminate()
        try:
            self.process.wait(ENDED)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class AgentsRig(Rig):
    """Masters, a simulator and frameworks."""

    def fleet(
        self, count: int, resources: str, duration: str, prefix: str = "sim", *, steady: float | None = None
    ) -> Program:
        """Start agents."""
        words = ["--count", str(count), "--resources", resources, "--duration", duration]
        if steady is not None:
            words += ["--steady", str(steady)]
        return Program(self.cluster, prefix, "benchmarks.fleet", "--prefix", prefix, *words)

    def fillers(self, *words: str) -> Program:
        """Start the frameworks."""
        options = ("--frameworks", str(FRAMEWORKS), *words)
        return Program(self.cluster, "fillers", "benchmarks.fillers", *options)

    def masters(self) -> list[Daemon]:
        """Those that run."""
        return self.cluster.of("master")

    def cpu(self, programs: dict[str, Program]) -> dict[str, float]:
        """CPU seconds so far, of the masters, both servers and some programs."""
        pids = self.processes()
        used = {"masters": run_seconds(pids["master"]), "Redis": run_seconds(pids["Redis"])}
        # The broker runs on many threads that live and end: only the process's own sum has all of them.
        used["RabbitMQ"] = sum(map(cpu_seconds, pids["RabbitMQ"]))
        return used | {name: run_seconds([program.pid]) for name, program in programs.items()}


@contextlib.contextmanager
def agents_rig(masters: int) -> Iterator[AgentsRig]:
    """Servers, and masters that have shared the cells."""
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else None
    tmp = Path(tempfile.mkdtemp(prefix="bmesos-bench-", dir=place))
    try:
        with servers() as (rabbitmq, redis):
            cluster = Cluster(rabbitmq.url, redis.url, "bench", tmp)
            try:
                for _ in range(masters):
                    cluster.master(cells=CELLS)
                cluster.ready()
                rig = AgentsRig(rabbitmq, redis, cluster)
                within(30, lambda: len(owned(rig)) == min(masters, CELLS) and even(owned(rig)))
                yield rig
            finally:
                cluster.abort()
    finally:
        shutil.rmtree(tmp, ignore_errors=True)


def owned(rig: AgentsRig) -> dict[int, list[int]]:
    """The cells of each master, by its pid."""
    found: dict[int, list[int]] = {}
    for each in rig.client.cluster().cells:
        if each.owner and each.pid is not None:
            found.setdefault(each.pid, []).append(each.cell)
    return found


def even(cells: dict[int, list[int]]) -> bool:
    """Whether no master has two cells more than another."""
    counts = [len(each) for each in cells.values()]
    return bool(counts) and sum(counts) == CELLS and max(counts) - min(counts) < 2


def within(seconds: float, check: Callable[[], bool], look: float = 0.2) -> bool:
    """Ask until it is so, or the time is over; whether it was. A cluster too busy to answer says not yet."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(Exception):
            if check():
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(look)
