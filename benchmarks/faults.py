"""``python -m benchmarks.faults``: how long faults are felt, and rounds of random kills.

Prints one JSON object a line for each figure, and writes the table into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from broker_mesos.errors import BrokerMesosError
from tests.e2e.cluster import E2EFailed, until
from tests.faults.support import Runs, Victim
from tests.servers import RabbitMQServer, RedisServer

PAGE = Path(__file__).parent.parent / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: make bench-faults -->", "<!-- end of figures -->"


class Load:
    """An array of short tasks, more than can run while a fault is measured."""

    def __init__(self, cluster: Victim) -> None:
        self.runs = Runs(cluster, 2_000, "sleep 0.1").submit()
        until("it is under way", lambda: self.runs.started_gangs() >= 30)

    def first_launch(self, cluster: Victim, old: set[str], old_terms: set[str]) -> float:
        """When the first task ran (seconds since the epoch) that is none of ``old``, nor offered under one
        of these terms: what an earlier owner had sent already does not count."""

        def look() -> float:
            times = []
            for task_id, term in launched(cluster):
                if task_id not in old and term not in old_terms and task_id.startswith(f"{self.runs.job.id}."):
                    file = self.runs.folder / task_id.split(".")[1]
                    if file.exists():
                        times.append(file.stat().st_mtime)
            return min(times, default=0.0)

        return until("a task is launched", look, 60.0)

    def end(self) -> None:
        self.runs.job.kill()
        self.runs.job.wait(60)
        counted = self.runs.counted()
        assert set(counted.values()) <= {1}, counted.most_common(3)
        self.runs.nothing_left()


def launched(cluster: Victim) -> list[tuple[str, str]]:
    """Task id and term of what the agents' journals know as launched."""
    found = []
    for agent in cluster.of("agent"):
        assert agent.work_dir is not None
        for line in (agent.work_dir / "meta" / "agent.journal").read_text().splitlines():
            if line.startswith("task "):
                task = json.loads(line[5:])["task"]
                found.append((task["task_id"], task.get("offer_id", "--").split("-")[1]))
    return found


def terms(cluster: Victim) -> set[str]:
    return {str(each.term) for each in cluster.client().cluster().cells}


def owner_killed(cluster: Victim) -> float:
    load = Load(cluster)
    old = terms(cluster)
    owner = cluster.owner(0)
    began = time.time()
    owner.kill()
    took = load.first_launch(cluster, set(), old) - began
    load.end()
    cluster.heal()
    return took


def restarted(cluster: Victim, server: RabbitMQServer | RedisServer) -> float:
    load = Load(cluster)
    # A broker that was away ends every term; a store that was away only those that asked it meanwhile.
    old = terms(cluster) if isinstance(server, RabbitMQServer) else set()
    server.kill()
    had = {task_id for task_id, _ in launched(cluster)}
    server.start()
    began = time.time()
    took = load.first_launch(cluster, had, old) - began
    cluster.ready()
    load.end()
    return took


def round_of_chaos(cluster: Victim, rng: random.Random) -> tuple[str, str]:
    """Whom it hit, and what went wrong: lost, twice, stuck, or nothing."""
    runs = Runs(cluster, 200, "sleep 0.05").submit()
    share = rng.uniform(0.02, 0.8)
    until("it is under way", lambda: runs.started_gangs() >= share * runs.tasks)
    prey = rng.choice([each for each in cluster.live() if each.kind in ("master", "agent", "batch")])
    prey.kill()
    cluster.heal()
    try:
        summary = runs.job.wait(60)
        runs.nothing_left()
    except (BrokerMesosError, E2EFailed):
        return prey.kind, "stuck"
    counted = runs.counted()
    if any(count > 1 for count in counted.values()):
        return prey.kind, "run twice"
    if summary.counts["finished"] != runs.tasks or len(counted) != runs.tasks:
        return prey.kind, "lost"
    return prey.kind, ""


def measured(name: str, goal: str, count: int, once: Callable[[], float]) -> dict[str, object]:
    times = [once() for _ in range(count)]
    figure: dict[str, object] = {
        "figure": name,
        "goal": goal,
        "runs": count,
        "median_s": round(statistics.median(times), 3),
        "worst_s": round(max(times), 3),
    }
    print(json.dumps(figure), flush=True)
    return figure


def chaos(cluster: Victim, rounds: int, seed: int) -> dict[str, object]:
    rng = random.Random(seed)
    found = [round_of_chaos(cluster, rng) for _ in range(rounds)]
    bad = Counter(what for _, what in found if what)
    figure: dict[str, object] = {
        "figure": "random kills while 200 tasks run",
        "rounds": rounds,
        "seed": seed,
        "killed": dict(Counter(kind for kind, _ in found)),
        "lost": bad["lost"],
        "run_twice": bad["run twice"],
        "stuck": bad["stuck"],
    }
    print(json.dumps(figure), flush=True)
    return figure


def table(figures: list[dict[str, object]]) -> str:
    lines = ["| fault | runs | median | worst | goal |", "|---|---|---|---|---|"]
    after = []
    for each in figures:
        if "median_s" in each:
            lines.append(
                f"| {each['figure']} | {each['runs']} | {each['median_s']} s | {each['worst_s']} s | {each['goal']} |"
            )
        else:
            killed = ", ".join(f"{count} {kind}" for kind, count in dict(each["killed"]).items())  # type: ignore[call-overload]
            after.append(
                f"{each['rounds']} rounds of a random `kill -9` while 200 tasks run ({killed}; seed "
                f"{each['seed']}): {each['lost']} lost, {each['run_twice']} run twice, {each['stuck']} stuck."
            )
    return "\n".join([*lines, "", *after])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="kills of the owner")
    parser.add_argument("--restarts", type=int, default=5, help="restarts of each server")
    parser.add_argument("--rounds", type=int, default=200, help="rounds of random kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-page", action="store_true", help="leave docs/reliability.md alone")
    options = parser.parse_args()
    figures = []
    with (
        RabbitMQServer() as rabbitmq,
        RedisServer() as redis,
        tempfile.TemporaryDirectory(prefix="bmesos-bench-") as tmp,
        Victim(rabbitmq.url, redis.url, "bench", Path(tmp)) as cluster,
    ):
        cluster.grow(cells=1, workers=1)
        what = "`kill -9` of the owning master → next launch by its successor"
        if options.runs:
            goal = "median < 0.5 s, worst < 1 s"
            figures.append(measured(what, goal, options.runs, partial(owner_killed, cluster)))
        for server in (redis, rabbitmq) if options.restarts else ():
            what = f"`kill -9` and restart of {server.name}: from its first answer to the next launch"
            figures.append(measured(what, "< 2 s", options.restarts, partial(restarted, cluster, server)))
    if options.rounds:
        with (
            RabbitMQServer() as rabbitmq,
            RedisServer() as redis,
            tempfile.TemporaryDirectory(prefix="bmesos-bench-") as tmp,
            Victim(rabbitmq.url, redis.url, "bench", Path(tmp)) as cluster,
        ):
            cluster.grow()
            figures.append(chaos(cluster, options.rounds, options.seed))
    if not options.no_page:
        text = PAGE.read_text()
        head, _, rest = text.partition(BEGIN)
        PAGE.write_text(f"{head}{BEGIN}\n{table(figures)}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
