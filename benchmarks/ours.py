"""What is done with our own cluster while it is measured."""

from __future__ import annotations

import subprocess
import time

from benchmarks.peers.limit import TRUE
from benchmarks.rig import Rig
from tests.e2e.cluster import BMESOS


def array(bench: Rig, count: int) -> float:
    """Seconds from the submit of an array to the knowledge of all its results."""
    started = time.perf_counter()
    job = bench.client.submit([TRUE], array=count, mem=16)
    summary = job.wait(timeout=600)
    took = time.perf_counter() - started
    assert summary.counts["finished"] == count, summary
    return took


def singles(bench: Rig, count: int, *, at_once: bool = True) -> list[float]:
    """Seconds from submit to finished of one task after another. ``at_once``: in one request, as who only
    wants the end of a short task does; else submit, then wait."""
    times = []
    for _ in range(count):
        started = time.perf_counter()
        if at_once:
            summary = bench.client.run([TRUE], mem=16, timeout=60)
        else:
            summary = bench.client.submit([TRUE], mem=16).wait(timeout=60)
        times.append(time.perf_counter() - started)
        assert summary.exit_code == 0, summary
    return times


def command(bench: Rig, *words: str) -> float:
    """Seconds of a whole process of the command line."""
    started = time.perf_counter()
    subprocess.run(
        [BMESOS, *words],
        env=bench.cluster.env,
        cwd=bench.cluster.tmp,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=60,
        check=True,
    )
    return time.perf_counter() - started
