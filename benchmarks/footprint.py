"""``python -m benchmarks.footprint``: what an idle cluster of three agents takes, and what tasks weigh."""

from __future__ import annotations

import argparse
import time

from benchmarks.growth import Growth, Point
from benchmarks.ours import array
from benchmarks.record import Record
from benchmarks.rig import Rig, memory, rig, run_seconds, servers
from benchmarks.sizes import add_size
from broker_mesos.runtime.settings import DEFAULT_CELLS

AGENTS = 3
IDLE = {"small": (3.0, 1), "usual": (20.0, 3), "full": (30.0, 5)}
"""Seconds that are looked at, and how often."""
ARRAYS = {"small": (100, 300), "usual": (500, 1_000, 4_000), "full": (500, 1_000, 4_000, 10_000)}
MB = 1e6


def idle(record: Record, bench: Rig, cells: int, seconds: float, runs: int) -> None:
    """CPU and memory of everything while nothing is asked of it."""
    groups = bench.processes()
    time.sleep(min(5.0, seconds))  # the registrations' last messages
    shares: dict[str, list[float]] = {name: [] for name in groups}
    ours: list[float] = []
    for _ in range(runs):
        began = time.perf_counter()
        before = {name: run_seconds(pids) for name, pids in groups.items()}
        time.sleep(seconds)  # what is measured: a stretch of time in which nothing happens
        took = time.perf_counter() - began
        for name, pids in groups.items():
            shares[name].append(100 * (run_seconds(pids) - before[name]) / took)
        ours.append(sum(runs[-1] for name, runs in shares.items() if name not in bench.SERVERS))
    record.section(
        f"An idle cluster of {AGENTS} agents, {cells} {'cells' if cells > 1 else 'cell'}",
        f"CPU over {runs} × {seconds:g} s as a part of one core, and memory (proportional set size: shared "
        "pages count once for all who share them). An agent's spawner is a process of its own.",
    )
    for name, values in shares.items():
        record.add(f"CPU of {name}", "%", values)
    record.add(
        "CPU of all daemons together",
        "%",
        ours,
        "servers aside",
        key="idle" if cells == DEFAULT_CELLS else "",
    )
    total = 0.0
    for name, pids in groups.items():
        used = sum(map(memory, pids)) / MB
        total += 0 if name in bench.SERVERS else used
        record.add(f"memory of {name}", "MB", [used])
    record.add("memory of all daemons together", "MB", [total], "servers aside")


def kept(record: Record, bench: Rig, sizes: tuple[int, ...]) -> None:
    """What arrays leave: while they wait, and once they have finished."""
    array(bench, 100)
    groups = bench.processes()
    names = [name for name in groups if name in ("master", "batch", *bench.SERVERS)]
    most = sizes[-1]
    record.section(
        "Memory per task",
        "What each process holds more than before. An array waits as one record; a task has a record of its "
        "own once it is launched, and a result as long as its job is kept. Below 0: memory was given back.",
    )
    # Half of an agent's memory at once: all but a few wait.
    before = {name: sum(map(memory, groups[name])) for name in names}
    job = bench.client.submit(["/bin/sleep", "600"], array=most, mem=8_000)
    for name in names:
        grown = sum(map(memory, groups[name])) - before[name]
        record.add(f"{name}, per task of an array of {most:,} that waits", "bytes", [grown / most])
    job.kill()
    job.wait(timeout=120)
    stored: list[Point] = []
    for size in sizes:
        before = {name: sum(map(memory, groups[name])) for name in names}
        used = bench.redis_memory()
        array(bench, size)
        stored.append((size, max(1, bench.redis_memory() - used)))
    for name in names:
        grown = sum(map(memory, groups[name])) - before[name]
        record.add(f"{name}, per task of an array of {most:,} that has finished", "bytes", [grown / most])
    series = {"data in Redis": stored}
    record.growth(Growth("Data in Redis that finished arrays add", "tasks", "bytes", series))


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_size(parser)
    options = parser.parse_args()
    with Record("footprint", "Footprint", options.size) as record, servers() as (rabbitmq, redis):
        with rig(rabbitmq, redis, cells=DEFAULT_CELLS, agents=AGENTS, name="whole") as bench:
            idle(record, bench, DEFAULT_CELLS, *IDLE[options.size])
        with rig(rabbitmq, redis, agents=AGENTS) as bench:
            idle(record, bench, 1, *IDLE[options.size])
            kept(record, bench, ARRAYS[options.size])


if __name__ == "__main__":
    main()
