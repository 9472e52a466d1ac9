"""``python -m benchmarks.agents``: many simulated agents under full load, and the death of a cell's owner."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from statistics import fmean, median

from benchmarks.agents_rig import CELLS, FRAMEWORKS, AgentsRig, Program, agents_rig, owned, within
from benchmarks.growth import Growth, Point
from benchmarks.record import Record, percentile
from benchmarks.rig import memory
from benchmarks.sizes import add_size
from broker_mesos.core.api.cells import CellLoad
from broker_mesos.core.protocol.addresses import cell_of

SLOTS = 2
SECONDS = 30
BUSY = 0.95
"""Part of the slots that must be in use for a load to be called full."""
LONG = 90
"""The same load with a third of the launches: as many as a small machine carries that runs everything."""
STEADY = {
    "small": ((100, 1, SECONDS), (200, 1, SECONDS)),
    "usual": ((300, 1, SECONDS), (1_000, 1, SECONDS), (1_000, 2, SECONDS)),
    "full": (
        (1_000, 1, SECONDS),
        (3_000, 1, SECONDS),
        (10_000, 1, SECONDS),
        (10_000, 2, SECONDS),
        (10_000, 4, SECONDS),
        (1_000, 1, LONG),
        (3_000, 1, LONG),
        (10_000, 1, LONG),
    ),
}
"""Agents, masters, seconds of a task on average."""
REPEATS = {"small": 1, "usual": 1, "full": 3}
"""Runs of the load that a target speaks of, each with servers of its own."""
FILL = 60.0
"""Seconds for which the slots may fill before what there is gets measured."""
WINDOW = {"small": (11.0, 6.0), "usual": (15.0, 12.0), "full": (30.0, 20.0)}
"""Seconds from full slots to the measurement, and of this."""
HEAD = 15.0
"""Seconds for which the first tasks run at least: while the slots fill, none becomes free."""
CALM = 3.0
KILLS = {"small": 1, "usual": 2, "full": 3}
FAILOVER = {"small": (150, 500), "usual": (500, 2_000), "full": (1_000, 3_000, 10_000)}
TASKS = 10
"""On each agent, at the failover."""
PROBES = 40
TARGET = 10_000
"""Agents that the targets speak of: figures of other sizes are not compared with them."""
MB = 1e6


@dataclass
class Grown:
    """What is drawn against the number of agents, for one master."""

    slot: dict[str, list[Point]] = field(default_factory=dict)
    cpu: dict[str, list[Point]] = field(default_factory=dict)
    memory: dict[str, list[Point]] = field(default_factory=dict)
    failover: dict[str, list[Point]] = field(default_factory=dict)

    @staticmethod
    def put(series: dict[str, list[Point]], name: str, agents: int, value: float) -> None:
        """One point more."""
        series.setdefault(name, []).append((agents, value))


def patience(agents: int) -> float:
    """Seconds after which a start or a fill is given up."""
    return 30 + agents / 50


@dataclass
class Load:
    """What one run of a load was like."""

    registered: float
    full: float | None
    refills: list[float]
    launches: float
    busy: float
    cpu: dict[str, float]
    """Cores, by what used them."""
    messages: dict[str, float]
    """A second."""
    memory: list[float]
    rounds: list[CellLoad]

    @property
    def settled(self) -> bool:
        """Whether it was full."""
        return self.busy > BUSY


def run_load(rig: AgentsRig, agents: int, seconds: int, size: str) -> Load:
    """Fill the slots, and see what it takes to keep them so. Raises TimeoutError when nothing comes of it."""
    least, most = seconds // 3, 5 * seconds // 3
    began = time.monotonic()
    resources = f"cpus:{SLOTS};mem:{128 * SLOTS}"
    fleet = rig.fleet(agents, resources, f"uniform:{least}s..{most}s", steady=HEAD)
    if not within(patience(agents), lambda: fleet.last("registered") >= agents):
        raise TimeoutError(f"only {fleet.last('registered'):,.0f} agents registered")
    registered = time.monotonic() - began
    fillers = rig.fillers()
    slots = SLOTS * agents
    began = time.monotonic()
    full = time.monotonic() - began if within(FILL, lambda: fleet.last("running") >= 0.97 * slots) else None
    ramp, window = WINDOW[size]
    time.sleep(ramp - CALM)  # what is measured comes after: the ends have to spread
    programs = {"the frameworks": fillers, "the simulator": fleet}
    messages, counted = rig.messages(), time.monotonic()
    time.sleep(CALM)  # to ask the broker is work for the machine
    first, used, at = len(fleet.lines()), rig.cpu(programs), time.monotonic()
    time.sleep(window)
    reports, now, took = fleet.lines()[first:], rig.cpu(programs), time.monotonic() - at
    rounds = list(rig.client.state().loads)
    told, span = rig.messages(), time.monotonic() - counted
    refills = [each for report in reports for each in report["refills"]]
    if not refills:
        raise TimeoutError("nothing was launched")
    launched = reports[-1]["launched"] - reports[0]["launched"]
    return Load(
        registered,
        full,
        refills,
        launched / (reports[-1]["seconds"] - reports[0]["seconds"]),
        fmean(report["running"] for report in reports) / slots,
        {name: (now[name] - used[name]) / took for name in now},
        {name: (told[name] - messages.get(name, 0)) / span for name in told},
        [memory(master.pid) / MB for master in rig.masters()],
        rounds,
    )


def steady(record: Record, agents: int, masters: int, seconds: int, size: str, grown: Grown) -> None:
    """Full slots, and what it takes to keep them so."""
    several = f"{masters} master{'s' if masters > 1 else ''}"
    record.section(
        f"{agents:,} agents under full load, tasks of {seconds} s, {several}",
        f"{FRAMEWORKS} frameworks with endless demand, {SLOTS} slots an agent, tasks of {seconds // 3} to "
        f"{5 * seconds // 3} s ({seconds} on average; the first ones end as if met on their way), {CELLS} "
        "cells. The agents are simulated, all of them by one process; the frameworks are another one. Memory "
        "is the proportional set size.",
    )
    key = "slot-p99" if (agents, masters, seconds) == (TARGET, 1, SECONDS) else ""
    runs = []
    for _ in range(REPEATS[size] if key else 1):
        try:
            with agents_rig(masters) as rig:
                runs.append(run_load(rig, agents, seconds, size))
        except TimeoutError as error:
            record.skip(f"full load of {agents:,} agents at {masters} masters", str(error))
    if not runs:
        return
    record.add(
        "until all agents are registered",
        "s",
        [each.registered for each in runs],
        "the simulator's start included; exact to 1 s",
    )
    if fills := [each.full for each in runs if each.full is not None]:
        note = "97% of them, the frameworks' start included; exact to 1 s"
        record.add("until the slots are full", "s", fills, note)
    note = f"of {' and '.join(f'{len(each.refills):,}' for each in runs)}"
    if not all(each.settled for each in runs):
        note += f"; **did not settle**: {min(each.busy for each in runs):.0%} of slots in use"
    for name, part in (("p50", 50), ("p99", 99), ("at most", 100)):
        values = [percentile(each.refills, part) for each in runs]
        record.add(f"slot free → next task runs, {name}", "s", values, note, key if name == "p99" else "")
    keep = f"{SLOTS * agents / seconds:,.0f} keep every slot full"
    record.add("launches", "1/s", [each.launches for each in runs], keep)
    record.add("slots in use", "%", [100 * each.busy for each in runs])
    about = "of the cells' latest 500 decisions that held a round of allocation, by their owners' clocks"
    cells = [cell for each in runs for cell in each.rounds]
    record.add("allocation, p50", "ms", [1000 * (each.round_p50 or 0) for each in cells], about)
    record.add("allocation, p99", "ms", [1000 * (each.round_p99 or 0) for each in cells], about)
    for name in runs[0].cpu:
        each_launch = [1000 * each.cpu[name] / each.launches for each in runs]
        record.add(f"CPU of {name}, per launch", "ms", each_launch)
    for name in runs[0].messages:
        rates = [each.messages[name] for each in runs]
        share = median(each.messages[name] / each.launches for each in runs)
        record.add(f"messages {name}, broker", "1/s", rates, f"{share:.1f} per launch")
    record.add("memory of a master", "MB", [held for each in runs for held in each.memory])
    for each in runs:
        if masters == 1 and each.settled:
            load = f"tasks of {seconds} s"
            grown.put(grown.slot, f"p50, {load}", agents, percentile(each.refills, 50))
            grown.put(grown.slot, f"p99, {load}", agents, percentile(each.refills, 99))
            for name in ("masters", "RabbitMQ", "Redis"):
                if each.cpu[name] > 0:
                    grown.put(grown.cpu, f"{name}, {load}", agents, each.cpu[name])


def failover(record: Record, rig: AgentsRig, agents: int, kills: int, grown: Grown) -> None:
    """Fill it; add a second master and kill the first one, as often as asked for."""
    total = agents * TASKS
    record.section(
        f"An owner dies: {agents:,} agents, {total:,} tasks",
        f"Long tasks of {FRAMEWORKS} frameworks on {CELLS} cells, and a framework whose tasks of 50 ms keep "
        f"{PROBES} agents more busy. A second master joins and takes its share of the cells; then the first "
        "one gets SIGKILL. Until a task is known to run that was asked for after that, of each lost cell.",
    )
    what = f"failover at {agents:,} agents"
    owner = rig.masters()[0]
    empty = memory(owner.pid)
    fleet = rig.fleet(agents, f"cpus:{TASKS};mem:{128 * TASKS}", "10h")
    if not within(patience(agents), lambda: fleet.last("registered") >= agents):
        record.skip(what, f"only {fleet.last('registered'):,.0f} agents registered")
        return
    limit = -(-total // FRAMEWORKS)
    began = time.monotonic()
    rig.fillers("--limit", str(limit))
    if not within(patience(agents) + total / 400, lambda: fleet.last("running") >= total):
        record.skip(what, f"only {fleet.last('running'):,.0f} tasks ran")
        return
    record.add("launches while it fills", "1/s", [total / (time.monotonic() - began)])
    held = memory(owner.pid)
    key = "owner-memory" if agents == TARGET else ""
    record.add("memory of the owner of all cells", "MB", [held / MB], f"empty: {empty / MB:.0f} MB", key)
    grown.put(grown.memory, "one owner of all cells", agents, max(1.0, held - empty) / MB)
    probes = rig.fleet(PROBES, "cpus:0.5;mem:32", "50ms", "probe")
    probe = Program(rig.cluster, "probe-framework", "benchmarks.probe")
    if not within(20, lambda: probes.last("launched") > PROBES):
        record.skip(what, "the probes do not run")
        return
    firsts, lasts, notes = [], [], set()
    for _ in range(kills):
        try:
            times, usual = _kill(rig, probe)
        except TimeoutError as error:
            record.skip(what, str(error))
            break
        firsts.append(times[0])
        lasts.append(times[-1])
        notes.add(f"{len(times)} of {CELLS} cells lost; ask → runs before: {1000 * usual:.0f} ms")
    if not lasts:
        return
    key = "failover" if agents == TARGET else ""
    record.add("kill → next launch runs, the first cell", "s", firsts)
    record.add("kill → next launch runs, every cell", "s", lasts, "; ".join(sorted(notes)), key)
    for value in lasts:
        grown.put(grown.failover, "every cell", agents, value)
    time.sleep(2)  # two reports of the simulator, in which agents that lost a session would show
    if not within(30, lambda: fleet.last("registered") >= agents):
        record.skip(what + ": the rest", f"{fleet.last('registered'):,.0f} agents registered after 30 s")
    record.add("tasks that still run", "%", [100 * fleet.last("running") / total])


def _kill(rig: AgentsRig, probe: Program) -> tuple[list[float], float]:
    """Start a master, kill the other one that runs: seconds to the next launch of each cell that this had,
    ascending, and those that a launch took before. Raises TimeoutError when nothing comes of it."""
    owner, heir = rig.masters()[0], rig.cluster.master()
    if not within(40, lambda: len(owned(rig).get(heir.pid, ())) >= CELLS // 2):
        raise TimeoutError("the second master did not take its share of the cells within 40 s")
    time.sleep(CALM)  # what it took over has to be calm again
    lost = owned(rig)[owner.pid]
    before = [each["runs"] - each["asked"] for each in probe.lines()[-500:]]
    known = len(probe.lines())
    killed = time.time()
    owner.kill()

    def back() -> dict[int, float]:
        found: dict[int, float] = {}
        for each in probe.lines()[known:]:
            cell = cell_of(each["agent"], CELLS)
            if each["asked"] > killed and cell in lost:
                found.setdefault(cell, each["runs"] - killed)
        return found

    if not within(60, lambda: len(back()) == len(lost), 0.05):
        raise TimeoutError(f"{len(lost) - len(back())} of {len(lost)} cells launched nothing within 60 s")
    return sorted(back().values()), percentile(before, 50)


def growth(record: Record, grown: Grown) -> None:
    """Pictures of what has several sizes."""
    record.section(
        "Growth with the number of agents",
        "Full load with one master; runs that did not settle are left out. CPU is that of a second, in which "
        f"launches grow with the agents. Memory and failover are those of {TASKS} tasks an agent.",
    )
    for title, unit, series in (
        ("A freed slot until its next task runs", "s", grown.slot),
        ("CPU of a second at full load", "s", grown.cpu),
        ("Memory of an owner beyond that of an empty one", "MB", grown.memory),
        ("Kill of an owner until the next launch", "s", grown.failover),
    ):
        if series:
            record.growth(Growth(title, "agents", unit, series))


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_size(parser)
    options = parser.parse_args()
    grown = Grown()
    with Record("agents", "Many agents", options.size) as record:
        for agents, masters, seconds in STEADY[options.size]:
            steady(record, agents, masters, seconds, options.size, grown)
        for agents in FAILOVER[options.size]:
            with agents_rig(1) as rig:
                failover(record, rig, agents, KILLS[options.size], grown)
        growth(record, grown)


if __name__ == "__main__":
    main()
