"""``python -m benchmarks.isolation``: what limits and sandboxes cost, in the rate and the latency of tasks.

One cluster for each level of isolation runs at once, all on the same servers, and they take turns: without
isolation, with limits, and with a sandbox for each task.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator

from benchmarks.ours import array, singles
from benchmarks.record import Record, percentile
from benchmarks.rig import Rig, rig, servers
from benchmarks.sizes import add_size

TASKS = {"small": 100, "usual": 1_000, "full": 1_000}
TURNS = {"small": 1, "usual": 7, "full": 15}
"""Jobs of each level."""
SINGLES = {"small": (5, 1), "usual": (50, 9), "full": (100, 21)}
"""Single tasks of a turn, and turns of each level."""
LEVELS = ("none", "limits", "sandboxed")


@contextlib.contextmanager
def levels() -> Iterator[dict[str, Rig]]:
    """A cluster for each level, with one agent that holds it or does not start."""
    with servers() as (rabbitmq, redis), contextlib.ExitStack() as stack:
        yield {
            level: stack.enter_context(
                rig(
                    rabbitmq,
                    redis,
                    name=f"bench-{level}",
                    settings={"isolation": level},
                )
            )
            for level in LEVELS
        }


def turns(rigs: dict[str, Rig], count: int) -> Iterator[list[tuple[str, Rig]]]:
    """The order of each turn: another one is the first in each."""
    order = list(rigs.items())
    for _ in range(count):
        yield order
        order = [*order[1:], order[0]]


def throughput(record: Record, rigs: dict[str, Rig], tasks: int, count: int) -> None:
    """A job of many short tasks."""
    record.section(
        f"One job of {tasks:,} × /bin/true, by the level of isolation",
        f"{count} jobs of each level, in turns, on clusters that run at the same time. Each task states its "
        "memory, so that it is limited. Ratios are those of jobs of the same turn.",
    )
    rates: dict[str, list[float]] = {level: [] for level in rigs}
    for order in turns(rigs, count):
        for level, bench in order:
            rates[level].append(tasks / array(bench, tasks))
    for level, values in rates.items():
        record.add(f"tasks a second, {level}", "1/s", values)
    for level in LEVELS[1:]:
        ratios = [a / b for a, b in zip(rates[level], rates["none"], strict=True)]
        record.add(f"tasks a second, {level} against none", "×", ratios, key=f"{level}-rate")


def latency(record: Record, rigs: dict[str, Rig], tasks: int, count: int) -> None:
    """Lone tasks."""
    record.section(
        "Single tasks, by the level of isolation",
        f"{count} turns of {tasks} tasks of each level, one after another, `client.run` over RabbitMQ, on idle "
        "clusters.",
    )
    times: dict[str, list[tuple[float, float]]] = {level: [] for level in rigs}
    for order in turns(rigs, count):
        for level, bench in order:
            found = singles(bench, tasks)
            times[level].append((1000 * percentile(found, 50), 1000 * percentile(found, 99)))
    for at, name in enumerate(("p50", "p99")):
        for level, values in times.items():
            record.add(f"{name}, {level}", "ms", [each[at] for each in values])
        for level in LEVELS[1:]:
            ratios = [a[at] / b[at] for a, b in zip(times[level], times["none"], strict=True)]
            record.add(f"{name}, {level} against none", "×", ratios, key=f"{level}-{name}")


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_size(parser)
    size = parser.parse_args().size
    with Record("isolation", "The cost of isolation", size) as record, levels() as rigs:
        for bench in rigs.values():
            array(bench, 100)
            singles(bench, 5)
        throughput(record, rigs, TASKS[size], TURNS[size])
        latency(record, rigs, *SINGLES[size])


if __name__ == "__main__":
    main()
