"""The benchmark of tasks on real servers, as small as it gets: that it runs, not what it measures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.servers
@pytest.mark.timeout(240)
def test_a_small_benchmark_of_tasks_stores_what_the_targets_ask_for(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "tasks", "--size", "small"],
        env={**os.environ, "BENCH_RESULTS": str(tmp_path), "BENCH_PEERS": "none"},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=230,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "tasks.jsonl").read_text().splitlines()]
    assert {"bare", "cpu"} <= {line.get("key") for line in lines}
    assert [line["growth"]["size"] for line in lines if "growth" in line] == ["tasks"]


def test_an_unknown_benchmark_is_refused_with_those_that_there_are() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "task"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert "no benchmark is called task; there are: tasks, latency, security, isolation, footprint" in done.stderr
