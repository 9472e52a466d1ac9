"""The peer's side: a Celery application, and its client. Runs in an environment of its own."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from celery import Celery, group  # type: ignore[import-not-found]

app = Celery("bench", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_BACKEND"])
app.conf.update(worker_prefetch_multiplier=4, task_acks_late=True, task_track_started=False)


@app.task(name="bench.run")  # type: ignore[untyped-decorator]
def run(command: list[str]) -> int:
    """One task."""
    return subprocess.run(command, check=False).returncode


def main() -> None:
    """Print one number: tasks a second of ``many N``, or milliseconds of ``single N``."""
    what, count = sys.argv[1], int(sys.argv[2])
    run.delay(["/bin/true"]).get(timeout=60)
    if what == "many":
        started = time.perf_counter()
        group(run.s(["/bin/true"]) for _ in range(count))().get(timeout=170)
        print(count / (time.perf_counter() - started))
        return
    times = []
    for _ in range(count):
        started = time.perf_counter()
        run.delay(["/bin/true"]).get(timeout=60, interval=0.001)
        times.append(time.perf_counter() - started)
    print(1000 * statistics.median(times))


if __name__ == "__main__":
    main()
