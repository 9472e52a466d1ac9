"""``python -m benchmarks.tasks``: process tasks a second, beside peers and the bare limit, and their cost."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmarks.growth import Growth
from benchmarks.ours import array
from benchmarks.peers.limit import run_and_wait, spawn_and_wait, spawn_many
from benchmarks.record import Record
from benchmarks.rig import Rig, Usage, rig, servers
from benchmarks.sizes import add_size
from benchmarks.turns import Peers, add_peers

ARRAYS = {"small": ((100, 2),), "usual": ((1_000, 5),), "full": ((1_000, 7), (10_000, 3))}
"""Tasks of one job, and how many runs of it."""
GROWTH = {
    "small": ((25, 50, 100), 1),
    "usual": ((250, 1_000, 4_000), 3),
    "full": ((250, 1_000, 4_000, 16_000), 3),
}

Runs = dict[str, list[float]]


def throughput(record: Record, bench: Rig, peers: Peers, tasks: int, runs: int, head: bool) -> None:
    """Arrays, with what each process used for them, and the comparisons. ``head``: what targets look at."""
    ours: list[float] = []
    bare: Runs = {"one": [], "python": [], "eight": []}
    theirs: Runs = {}
    used: list[tuple[Usage, Usage]] = []
    for _ in range(runs):
        before = bench.usage()
        ours.append(tasks / array(bench, tasks))
        used.append((before, bench.usage()))
        bare["one"].append(spawn_and_wait(tasks))
        bare["python"].append(run_and_wait(tasks))
        bare["eight"].append(spawn_many(tasks))
        for name, seconds in peers.each(lambda turn: turn.many(tasks)).items():
            theirs.setdefault(name, []).append(tasks / seconds)
    theirs = {name: values for name, values in theirs.items() if len(values) == runs}

    def key(name: str) -> str:
        return name if head else ""

    record.section(
        f"One job of {tasks:,} × /bin/true",
        "From submit to all results known at the client. One master, one agent with 8 declared CPUs, one "
        "batch worker; 8 workers of each peer. Rates are tasks a second.",
    )
    record.add("broker_mesos", "1/s", ours)
    for name, values in theirs.items():
        record.add(name, "1/s", values, peers.versions.get(name, ""))
    record.add("bare: spawn and wait, one at a time", "1/s", bare["one"], "the limit of one core")
    record.add("bare: the same with subprocess.run", "1/s", bare["python"], "what Python programs reach")
    record.add("bare: spawn and wait, 8 at a time", "1/s", bare["eight"], "the limit of all cores")
    record.add("broker_mesos against the limit of one core", "×", ratios(ours, bare["one"]), key=key("bare"))
    for name, values in theirs.items():
        mark = key("celery") if name == "Celery" else ""
        record.add(f"broker_mesos against {name}", "×", ratios(ours, values), key=mark)
    if theirs:
        best = ratios(ours, [max(each) for each in zip(*theirs.values(), strict=True)])
        record.add("broker_mesos against the best peer of each turn", "×", best, key=key("best-peer"))
    explain(record, used, tasks, key("cpu"))


def ratios(mine: Sequence[float], others: Sequence[float]) -> list[float]:
    """Of each turn."""
    return [a / b for a, b in zip(mine, others, strict=True)]


def explain(record: Record, used: Sequence[tuple[Usage, Usage]], tasks: int, key: str) -> None:
    """Where the time goes."""
    record.section(
        f"Where the time goes, per task of the job of {tasks:,}",
        "CPU of every process; messages as the broker counts them; commits of the cell.",
    )
    total = [0.0] * len(used)
    for name in used[0][0].cpu:
        runs = [1000 * (after.cpu[name] - before.cpu[name]) / tasks for before, after in used]
        if name != "client":
            total = [sum(pair) for pair in zip(total, runs, strict=True)]
        record.add(f"CPU of {name}", "ms", runs)
    record.add("CPU of daemons and servers together", "ms", total, "beyond the spawn itself", key=key)
    record.add("CPU of the tasks themselves", "ms", [1000 * (b.tasks - a.tasks) / tasks for a, b in used])
    for name in used[0][1].messages:
        runs = [(after.messages[name] - before.messages.get(name, 0)) / tasks for before, after in used]
        record.add(f"messages {name}", "", runs)
    record.add("commits of the cell", "", [(b.commits - a.commits) / tasks for a, b in used])
    record.add("scripts run by Redis", "", [(b.scripts - a.scripts) / tasks for a, b in used])


def growth(record: Record, bench: Rig, sizes: Sequence[int], runs: int) -> None:
    """Whole jobs against how many tasks they have."""
    wall: list[tuple[float, float]] = []
    cpu: list[tuple[float, float]] = []
    for _ in range(runs):
        for size in sizes:
            before = bench.usage().cpu
            wall.append((size, array(bench, size)))
            after = bench.usage().cpu
            cpu.append((size, sum(after[name] - before[name] for name in after if name != "client")))
    record.section("How a job grows with its tasks", "Each job whole, submit to last result.")
    series = {"from submit to all results": wall, "CPU of daemons and servers": cpu}
    record.growth(Growth("A whole job", "tasks", "s", series))


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_size(parser)
    add_peers(parser)
    options = parser.parse_args()
    with (
        Record("tasks", "Process tasks", options.size) as record,
        servers() as (rabbitmq, redis),
        rig(rabbitmq, redis) as bench,
    ):
        peers = Peers(bench, options.peers)
        array(bench, 200)
        for at, (tasks, runs) in enumerate(ARRAYS[options.size]):
            throughput(record, bench, peers, tasks, runs, head=at == 0)
        peers.tell(record)
        growth(record, bench, *GROWTH[options.size])


if __name__ == "__main__":
    main()
