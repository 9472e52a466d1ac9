"""``python -m benchmarks.run``: throughput, latency, and where the time goes."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import Report, facts, machine_time
from benchmarks.peers import TRUE, Celery, spawn_and_wait, spawn_many
from benchmarks.rig import Rig, Usage, rig, servers
from tests.e2e.cluster import BMESOS

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def array(bench: Rig, count: int) -> float:
    """Seconds from the submit of an array to the knowledge of all its results."""
    started = time.perf_counter()
    job = bench.client.submit([TRUE], array=count, mem=16)
    summary = job.wait(timeout=300)
    took = time.perf_counter() - started
    assert summary.counts["finished"] == count, summary
    return took


def singles(bench: Rig, count: int) -> list[float]:
    """Milliseconds from submit to finished of one task after another."""
    times = []
    for _ in range(count):
        started = time.perf_counter()
        summary = bench.client.submit([TRUE], mem=16).wait(timeout=60)
        times.append(1000 * (time.perf_counter() - started))
        assert summary.exit_code == 0, summary
    return times


def command(bench: Rig, *words: str) -> float:
    """Seconds of a whole process."""
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


def throughput(report: Report, bench: Rig, options: argparse.Namespace, celery: Celery | None) -> None:
    """Arrays, with what each process used for them, and the comparisons between the runs."""
    array(bench, 200)
    ours: list[float] = []
    one: list[float] = []
    eight: list[float] = []
    theirs: list[float] = []
    used: list[tuple[Usage, Usage]] = []
    if celery is not None:
        celery.run(100)
    for _ in range(options.runs):
        before = bench.usage()
        ours.append(options.tasks / array(bench, options.tasks))
        used.append((before, bench.usage()))
        one.append(spawn_and_wait(options.tasks))
        eight.append(spawn_many(options.tasks))
        if celery is not None:
            theirs.append(celery.run(options.tasks))
    report.section(
        f"One array of {options.tasks} × /bin/true",
        "From submit to all results known at the client. One master, one agent with 8 declared CPUs, one "
        "batch worker.",
    )
    report.add("array, tasks a second", "1/s", ours)
    report.add("bare spawn and wait, one at a time", "1/s", one, "the limit of one core")
    report.add("bare spawn and wait, 8 at a time", "1/s", eight)
    ratios = [mine / bare for mine, bare in zip(ours, one, strict=True)]
    report.add("array against the bare loop", "×", ratios)
    if theirs:
        report.add("Celery, 8 workers, subprocess.run", "1/s", theirs, "broker RabbitMQ, results in Redis")
        report.add("array against Celery", "×", [a / b for a, b in zip(ours, theirs, strict=True)])
    explain(report, used, options.tasks)


def explain(report: Report, used: Sequence[tuple[Usage, Usage]], tasks: int) -> None:
    """Where the time goes."""
    report.section(
        "Where the time goes, per task of the array",
        "CPU of every process; messages as the broker counts them; commits of the cell.",
    )
    total = [0.0] * len(used)
    for name in used[0][0].cpu:
        runs = [1000 * (after.cpu[name] - before.cpu[name]) / tasks for before, after in used]
        if name != "client":
            total = [sum(pair) for pair in zip(total, runs, strict=True)]
        report.add(f"CPU of {name}", "ms", runs)
    report.add("CPU of daemons and servers together", "ms", total)
    report.add("CPU of the tasks themselves", "ms", [1000 * (b.tasks - a.tasks) / tasks for a, b in used])
    for name in used[0][1].messages:
        runs = [(after.messages[name] - before.messages.get(name, 0)) / tasks for before, after in used]
        report.add(f"messages {name}", "", runs)
    report.add("commits of the cell", "", [(b.commits - a.commits) / tasks for a, b in used])
    report.add("scripts run by Redis", "", [(b.scripts - a.scripts) / tasks for a, b in used])


def latency(report: Report, bench: Rig, options: argparse.Namespace, celery: Celery | None) -> None:
    """Single tasks on the idle cluster."""
    singles(bench, 5)
    times = sorted(singles(bench, options.singles))
    report.section(
        f"{options.singles} single tasks, one after the other, on the idle cluster",
        "From submit to finished over the Python client on amqp://.",
    )
    report.add("latency p50", "ms", [statistics.median(times)])
    report.add("latency p90", "ms", [times[int(0.9 * len(times))]])
    report.add("latency p99", "ms", [times[min(len(times) - 1, int(0.99 * len(times)))]])
    if celery is not None:
        report.add("Celery, latency p50", "ms", [celery.latency(options.singles)])


def programs(report: Report, bench: Rig) -> None:
    """The command line as a user meets it."""
    report.section("The command line, whole process")
    report.add("bmesos --help", "s", [command(bench, "--help") for _ in range(5)])
    words = ("submit", "--wait", "--", "true")
    report.add("bmesos submit --wait -- true", "s", [command(bench, *words) for _ in range(5)])


def main() -> None:
    """Measure everything; print and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000, help="tasks of the array")
    parser.add_argument("--runs", type=int, default=5, help="runs of the array")
    parser.add_argument("--singles", type=int, default=100, help="single tasks for the latency")
    parser.add_argument("--cells", type=int, default=1)
    parser.add_argument("--peers", action="store_true", help="beside Celery, which is installed for that")
    parser.add_argument("--no-page", action="store_true", help="do not write docs/benchmarks.md")
    options = parser.parse_args()
    report = Report()
    began = machine_time()
    with servers() as (rabbitmq, redis), rig(rabbitmq, redis, options.cells) as bench:
        celery = Celery(rabbitmq.url, redis.url) if options.peers else None
        try:
            throughput(report, bench, options, celery)
            latency(report, bench, options, celery)
        finally:
            if celery is not None:
                celery.close()
        programs(report, bench)
    print(report.table())
    if not options.no_page:
        report.write(PAGE, facts(began))


if __name__ == "__main__":
    main()
