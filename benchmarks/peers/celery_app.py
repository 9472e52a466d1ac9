"""Celery's side: the application, which its workers load, and the client."""

from __future__ import annotations

import os
import subprocess

from celery import Celery, group
from loop import TRUE, serve

app = Celery("bench", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_STORE"])
app.conf.update(worker_prefetch_multiplier=32, worker_disable_rate_limits=True, task_track_started=False)


@app.task(name="bench.run")
def run(command: list[str]) -> int:
    """One task."""
    return subprocess.run(command, check=False).returncode


def many(count: int) -> None:
    """All at once, their results fetched together."""
    results = group(run.s([TRUE]) for _ in range(count))().get(timeout=300)
    assert results == [0] * count


def single() -> None:
    """One, and its result."""
    assert run.delay([TRUE]).get(timeout=60, interval=0.001) == 0


if __name__ == "__main__":
    serve(many, single)
