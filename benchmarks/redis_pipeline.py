"""``python -m benchmarks.redis_pipeline``: what the pipeline that callers share saves against redis-py's pool.

On a private Redis, in turns with and without: commits of one task each by 1 and by 16 callers at once, and reads
of a few fields by 16. For each, the median over the rounds of microseconds of time and of this process' CPU for
one call, and the median of the paired quotients.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from broker_mesos.ports.store import Change
from broker_mesos.runtime.clock import SystemClock
from broker_mesos.store.redis.records import RedisRecords
from tests.contract.pooled import without_pipeline
from tests.servers import RedisServer

PAYLOAD = "x" * 600


class Cost(NamedTuple):
    """Of one call, in microseconds."""

    time: float
    cpu: float


async def measure(call: Callable[[int], Awaitable[object]], callers: int, calls: int) -> Cost:
    """The cost of a call, of so many by so many callers at once."""

    async def caller(first: int) -> None:
        for number in range(first, calls, callers):
            await call(number)

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller(first) for first in range(callers)))
    return Cost((time.perf_counter() - began) / calls * 1e6, (time.process_time() - cpu) / calls * 1e6)


async def run(url: str, rounds: int, calls: int) -> None:
    """Print a line for each kind of call."""
    adapters = {
        name: wrap(RedisRecords(url, cluster="bench", clock=SystemClock()))
        for name, wrap in (("pipeline", lambda each: each), ("pool", without_pipeline))
    }
    for adapter in adapters.values():
        await adapter.open(10)
    for what, callers in (("transaction", 1), ("transaction", 16), ("read", 16)):
        found: dict[str, list[Cost]] = {name: [] for name in adapters}
        for turn in range(rounds + 1):
            for name in sorted(adapters, reverse=bool(turn % 2)):
                records = adapters[name]

                async def call(number: int, records: RedisRecords = records, what: str = what) -> object:
                    if what == "read":
                        return await records.get("jobs", [str(number), "a", "b"])
                    return await records.transact([], [Change("hset", "jobs", str(number), PAYLOAD)])

                cost = await measure(call, callers, calls)
                if turn:  # the first one is warming up
                    found[name].append(cost)
        saved = [
            1 - statistics.median(ours[at] / theirs[at] for ours, theirs in zip(*found.values(), strict=True))
            for at in range(2)
        ]
        medians = {
            name: [statistics.median(each[at] for each in costs) for at in range(2)] for name, costs in found.items()
        }
        print(
            f"{what}, {callers:2} at once: "
            + ", ".join(f"{name} {wall:.0f} µs and {cpu:.0f} µs of CPU" for name, (wall, cpu) in medians.items())
            + f"; saved {saved[0]:.0%} of the time, {saved[1]:.0%} of the CPU",
            flush=True,
        )
    for adapter in adapters.values():
        await adapter.close()


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=2_000)
    arguments = parser.parse_args()
    with RedisServer() as server:
        asyncio.run(run(server.url, arguments.rounds, arguments.calls))


if __name__ == "__main__":
    main()
