"""Runs simulated agents on a cluster's broker for ``bmesos simulate agents``, and reports about them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from broker_mesos import __version__
from broker_mesos.bus.open import CLOCK, daemon_bus
from broker_mesos.core.model.resources import Resources
from broker_mesos.runtime.clock import new_id
from broker_mesos.runtime.process import Stop, run_process, serve
from broker_mesos.runtime.settings import Settings
from broker_mesos.simulated.durations import durations, remaining
from broker_mesos.simulated.fleet import Counts, Fleet, FleetOptions


@dataclass(frozen=True)
class FleetPlan:
    """The number and kind of agents, and what their tasks do. ``report`` is the interval of reports in seconds; with
    ``samples`` each report contains the times for which freed slots stood empty. ``steady`` is the time in seconds
    after which the first tasks end as if tasks had come and gone for long; without it all tasks that started together
    end together, and so do those after them, for some time."""

    count: int
    resources: Resources
    duration: str
    prefix: str = "sim"
    attributes: Mapping[str, str] = field(default_factory=dict)
    report: float = 5.0
    samples: bool = False
    steady: float | None = None


def run_fleet(settings: Settings, plan: FleetPlan, report: Callable[[dict[str, Any]], None]) -> int:
    """Simulate agents until SIGTERM or Ctrl-C. ``report`` is called with each report, and with one at the end."""
    rng = random.Random()
    seconds, steady = durations(plan.duration, rng), plan.steady
    options = FleetOptions(
        resources=plan.resources,
        seconds=seconds,
        first=None if steady is None else lambda: steady + remaining(seconds, rng),
        attributes=plan.attributes,
        version=__version__,
        boot_id=new_id(),
    )
    ids = [f"{plan.prefix}-{number}" for number in range(1, plan.count + 1)]

    async def main(stop: Stop) -> None:
        bus = daemon_bus(settings, "simulate")
        async with contextlib.AsyncExitStack() as stack:
            await bus.open(settings.connect_timeout)
            stack.push_async_callback(bus.close)
            fleet = Fleet(bus, CLOCK, new_id, rng, ids, options)
            reporting = asyncio.create_task(_report(fleet, plan, report))
            try:
                await serve(fleet.run(), stop, fleet.stop)
            finally:
                reporting.cancel()
                await asyncio.gather(reporting, return_exceptions=True)

    return run_process(settings, main, ends_with_terminal=True)


async def _report(fleet: Fleet, plan: FleetPlan, report: Callable[[dict[str, Any]], None]) -> None:
    began = at = time.monotonic()
    before = fleet.counts()
    cpu = time.process_time()
    try:
        while True:
            await asyncio.sleep(plan.report)
            now, used = time.monotonic(), time.process_time()
            refills, counts = fleet.refills(), fleet.counts()
            summary = _summary(now - began, now - at, before, counts, refills, (used - cpu) / (now - at))
            report(summary | {"refills": [round(each, 4) for each in refills]} if plan.samples else summary)
            at, before, cpu = now, counts, used
    finally:
        now = time.monotonic()
        refills, counts = fleet.refills(), fleet.counts()
        share = (time.process_time() - cpu) / max(0.001, now - at)
        report(_summary(now - began, max(0.001, now - at), before, counts, refills, share))


def _summary(
    seconds: float, interval: float, before: Counts, now: Counts, refills: Sequence[float], cpu: float
) -> dict[str, Any]:
    """A report. ``refill`` is the time from the end of a task to the start of the next one in its place; rates are
    per second since the previous report."""
    summary: dict[str, Any] = {
        "seconds": round(seconds, 1),
        "agents": now.agents,
        "registered": now.registered,
        "running": now.running,
        "launched": now.launched,
        "ended": now.ended,
        "launched_per_second": round((now.launched - before.launched) / interval, 1),
        "sent_per_second": round((now.sent - before.sent) / interval, 1),
        "received_per_second": round((now.received - before.received) / interval, 1),
        "registrations": now.registrations,
        "cpu": round(cpu, 2),
    }
    if refills:
        ordered = sorted(refills)
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            summary[f"refill_{name}"] = round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 4)
        summary["refill_max"] = round(ordered[-1], 4)
    return summary
