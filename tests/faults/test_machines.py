"""A machine whose disk is full, or whose clock is wrong."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import until
from tests.faults.conftest import fresh
from tests.faults.namespace import not_here
from tests.faults.support import RESOURCES, Runs
from tests.servers import RabbitMQServer, RedisServer


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB and 300 files."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=300", "bmesos-test", str(folder)],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        not_here(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all the room there is, for bytes and for files."""
    filler = folder / "filler"
    filler.mkdir()
    with (filler / "bytes").open("wb", buffering=0) as handle:
        for size in (65_536, 4_096, 512, 1):
            with contextlib.suppress(OSError):
                while True:
                    handle.write(b"x" * size)
    with contextlib.suppress(OSError):
        for number in range(1_000):
            (filler / str(number)).touch()
    return filler


def test_an_agent_whose_disk_is_full_reports_what_ran_refuses_what_comes_and_recovers(
    rabbitmq_server: RabbitMQServer, redis_server: RedisServer, tmp_path: Path, small_disk: Path
):
    with fresh(rabbitmq_server.url, redis_server.url, tmp_path) as victim:
        victim.master(cells=1)
        victim.batch()
        agent = victim.agent(resources=RESOURCES, work_dir=small_disk / "work")
        victim.ready()
        runs = Runs(victim, 8, "sleep 1.5").submit()
        until("they run", lambda: runs.begun() == 8)
        filler = fill(small_disk)
        # Their ends cannot be written down; they are told all the same.
        runs.finished_exactly_once()
        # What comes waits, and uses up no retry.
        waits = Runs(victim, 1, "true").submit()
        until("the agent says why", lambda: agent.events("the agent lends less than it has"))
        assert "kept free" in agent.events("the agent lends less than it has")[0]["reason"]
        # One whose disk is full would end tasks faster than any other, and must not draw all of them.
        healthy = victim.agent(resources="cpus:2;mem:4096;disk:0;ports:[]")
        victim.ready()
        elsewhere = Runs(victim, 60, "sleep 0.1").submit()
        elsewhere.finished_exactly_once()
        waits.finished_exactly_once()
        hosts = {task.agent_id for task in elsewhere.job.tasks()}
        assert hosts == {victim.agent_id(healthy)}
        healthy.stop()
        shutil.rmtree(filler)
        Runs(victim, 20, "true").submit().finished_exactly_once()
        assert agent.running


def test_wrong_clocks_lose_nothing(rabbitmq_server: RabbitMQServer, redis_server: RedisServer, tmp_path: Path):
    """One master, agent and worker are a day ahead of the others."""
    with fresh(rabbitmq_server.url, redis_server.url, tmp_path) as victim:
        victim.odd_ones_out(BMESOS_CLOCK_OFFSET="86400")
        # A cell that is handed over to share the load ends its offers, and their tasks are launched again.
        until("each master owns a cell", lambda: len({each.owner for each in victim.client().cluster().cells}) == 2)
        runs = Runs(victim, 60, "sleep 0.2").submit()
        runs.finished_exactly_once()
        # Nobody has taken a claim for older than it is, and launched its task again.
        assert {task.task_id.rpartition(".")[2] for task in runs.job.tasks()} == {"1"}
        runs = Runs(victim, 100, "sleep 0.2").submit().under_way()
        # The clocks of both meet under either owner. (What is accepted on an offer of the one that goes is
        # dropped, and launched anew.)
        victim.owner(0).stop()
        runs.finished_exactly_once()
        assert {task.attempt for task in runs.job.tasks()} == {1}
