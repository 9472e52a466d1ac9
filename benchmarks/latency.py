"""``python -m benchmarks.latency``: single tasks on an idle cluster, beside peers, and the command line."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

from benchmarks.ours import command, singles
from benchmarks.record import Record, percentile
from benchmarks.rig import Rig, rig, servers
from benchmarks.sizes import add_size
from benchmarks.turns import Peers, add_peers

TASKS = {"small": (20, 1), "usual": (100, 3), "full": (300, 3)}
"""Single tasks of a turn, and turns."""
RESTED = {"small": 3, "usual": 15, "full": 30}
PAUSE = 1.5
PROGRAMS = {"small": 2, "usual": 9, "full": 15}


def tell(record: Record, name: str, turns: Sequence[Sequence[float]], about: str = "", key: str = "") -> None:
    """Percentiles of each turn, in milliseconds."""
    for part in (50, 99):
        values = [1000 * percentile(turn, part) for turn in turns]
        record.add(f"{name}, p{part}", "ms", values, about, key=f"{key}p{part}" if key != "-" else "")


def python(record: Record, bench: Rig, peers: Peers, tasks: int, turns: int) -> None:
    """Over the client in this process."""
    singles(bench, 5)
    ours: list[list[float]] = []
    apart: list[list[float]] = []
    theirs: dict[str, list[list[float]]] = {}
    for _ in range(turns):
        ours.append(singles(bench, tasks))
        apart.append(singles(bench, tasks, at_once=False))
        for name, times in peers.each(lambda turn: turn.single(tasks)).items():
            theirs.setdefault(name, []).append(times)
    record.section(
        "Over Python",
        f"From submit to finished, {tasks} single tasks a turn, one after another, on an idle cluster; our "
        "client is on `amqp://`.",
    )
    tell(record, "broker_mesos", ours, "`client.run`: one request")
    tell(record, "broker_mesos, submit and wait", apart, "`client.submit(…).wait()`", "-")
    for name, found in theirs.items():
        tell(record, name, found, peers.versions.get(name, ""), "-")
    peers.tell(record)


def rested(record: Record, bench: Rig, peers: Peers, tasks: int) -> None:
    """Each a while after the last one, so that nothing is warm, nor a place kept ready for it."""

    def some(single: Callable[[int], list[float]]) -> list[float]:
        times = []
        for _ in range(tasks):
            time.sleep(PAUSE)
            times += single(1)
        return times

    ours = some(lambda count: singles(bench, count))
    theirs = peers.each(lambda turn: (turn.single(5), some(turn.single))[1])
    record.section(
        "Over Python, after a pause", f"{tasks} single tasks, each {PAUSE:g} s after the end of the last one."
    )
    tell(record, "broker_mesos", [ours], "`client.run`: one request", "-")
    for name, found in theirs.items():
        tell(record, name, [found], peers.versions.get(name, ""), "-")


def programs(record: Record, bench: Rig, runs: int) -> None:
    """The command line as a user meets it."""
    words = ("submit", "--wait", "--", "true")
    command(bench, *words)
    helped, waited = [], []
    for _ in range(runs):
        helped.append(command(bench, "--help"))
        waited.append(command(bench, *words))
    record.section("Over the command line", "The whole process, from its start to its exit code.")
    record.add("bmesos --help", "s", helped)
    record.add("bmesos submit --wait -- true", "s", waited, "median", key="cli")
    record.add("bmesos submit --wait -- true, p99", "s", [percentile(waited, 99)], f"of {runs}")


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_size(parser)
    add_peers(parser)
    options = parser.parse_args()
    with (
        Record("latency", "Latency of single tasks", options.size) as record,
        servers() as (rabbitmq, redis),
        rig(rabbitmq, redis) as bench,
    ):
        peers = Peers(bench, options.peers)
        python(record, bench, peers, *TASKS[options.size])
        rested(record, bench, peers, RESTED[options.size])
        programs(record, bench, PROGRAMS[options.size])


if __name__ == "__main__":
    main()
