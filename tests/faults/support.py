"""A cluster to do harm to, and jobs whose tasks count their own runs.

A task appends a line to a file of its index each time it runs: what the files say is what happened, whatever
the cluster believes.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from broker_mesos.client import Job
from broker_mesos.core.api.jobs import JobSummary
from broker_mesos.runtime import failpoints
from tests.e2e.cluster import Cluster, Daemon, E2EFailed, until
from tests.e2e.waiting import until_none

RESOURCES = "cpus:8;mem:4096;disk:0;ports:[]"
SETTINGS: dict[str, object] = {"offer_timeout": 2, "agent_beat": 1, "agent_missed": 5, "agent_heartbeat": 2}
"""Shorter than the defaults, so that what waits for them does not take long: unreachable after 5 s."""
RECOVERED = 40.0
"""Seconds in which a job must have ended whatever was done to its cluster: much, for a busy machine."""


class Runs:
    """A job array whose tasks count their own runs."""

    def __init__(self, cluster: Cluster, tasks: int, work: str, *, retries: int = 0, job_id: str = "") -> None:
        number = len(list(cluster.tmp.glob("runs-*"))) + 1
        self.folder = cluster.tmp / f"runs-{number}"
        self.folder.mkdir()
        self.tasks = tasks
        self.command = f'echo "$BMESOS_TASK_ID $BMESOS_ATTEMPT" >> {self.folder}/$BMESOS_ARRAY_INDEX; {work}'
        self.words: dict[str, Any] = {"array": tasks, "cpus": 1, "mem": 16, "retries": retries}
        self.job: Job
        self.cluster = cluster

    def submit(self) -> Runs:
        self.job = self.cluster.client().submit(self.command, **self.words)
        return self

    def begun(self) -> int:
        return sum(1 for _ in self.folder.iterdir())

    def under_way(self, share: float = 0.1) -> Runs:
        """Wait until so many have begun; and not all of them have, or the fault would come too late."""
        until("the job is under way", lambda: self.begun() >= max(1, int(share * self.tasks)))
        assert self.begun() < self.tasks, "all tasks ran before the fault: make them more, or longer"
        return self

    def counted(self) -> Counter[str]:
        """How often each index ran."""
        return Counter(path.name for path in self.folder.iterdir() for _ in path.read_text().splitlines())

    def ended(self, timeout: float = RECOVERED) -> JobSummary:
        return self.job.wait(timeout)

    def finished_exactly_once(self, timeout: float = RECOVERED) -> None:
        """Wait for the end: every task has finished, every task ran once, and nothing is left behind."""
        summary = self.ended(timeout)
        odd = [(task.index, task.state, task.attempt, task.message) for task in self.job.tasks()]
        odd = [each for each in odd if each[1] != "finished"]
        assert (summary.state, summary.counts["finished"]) == ("finished", self.tasks), odd[:10]
        counted = self.counted()
        assert counted == {str(index): 1 for index in range(1, self.tasks + 1)}, [
            (index, (self.folder / index).read_text()) for index, count in counted.items() if count > 1
        ]
        self.nothing_left()

    def nothing_left(self) -> None:
        """What was used is free again, and offers are no one's."""

        def left() -> list[object]:
            state = self.cluster.client().state("agents", "tasks", limit=2_000)
            used = [agent for agent in state.agents if agent.used or agent.tasks]
            # What a cell has that does not answer is not known.
            return [*state.missing, *used, *(task for task in state.tasks if not task.state.terminal)]

        until_none("nothing is used any more", left)


class Victim(Cluster):
    """A cluster whose daemons may be struck at any failpoint, and that can be made whole again."""

    def __init__(self, amqp_url: str, redis_url: str, name: str, tmp: Path, **settings: object) -> None:
        super().__init__(amqp_url, redis_url, name, tmp, {**SETTINGS, **settings})
        self.points = self.tmp / "failpoints"
        self.points.mkdir()
        self.env[failpoints.FOLDER] = str(self.points)
        self._size: dict[str, int] = {}

    def grow(self, *, masters: int = 2, agents: int = 2, workers: int = 2, cells: int = 2) -> Victim:
        """Start them all, and wait until they serve."""
        self.cells = cells
        self._size = {"master": masters, "agent": agents, "batch": workers}
        for _ in range(masters):
            self.master(cells=cells)
        for _ in range(agents):
            self.agent(resources=RESOURCES)
        for _ in range(workers):
            self.batch()
        self.ready()
        self.both_offer()
        return self

    def odd_ones_out(self, **variables: str) -> Victim:
        """Two of each kind, of which one has these variables as well; wait until they serve."""
        self.cells = 2
        for kind in ("master", "agent", "batch"):
            for more in ({}, variables):
                with self.with_environment(**more):
                    match kind:
                        case "master":
                            self.master(cells=self.cells)
                        case "agent":
                            self.agent(resources=RESOURCES)
                        case "batch":
                            self.batch()
        self.ready()
        self.both_offer()
        return self

    def both_offer(self) -> None:
        """Every cell knows the batch framework, so that a job begins at once."""
        until("a job runs", lambda: self.client().submit("true", cpus=0.1).wait(30).state == "finished")

    def heal(self) -> None:
        """As many daemons of each kind as in the beginning; agents come back in their work folders."""
        for path in self.points.iterdir():
            path.unlink()
        for daemon in self.daemons:
            if daemon.running and daemon._paused:
                daemon.resume()
        for kind, size in self._size.items():
            gone = [each for each in self.daemons if each.kind == kind and not each.running]
            missing = size - len(self.of(kind))
            if kind == "agent":
                used = {each.work_dir for each in self.of("agent")}
                folders = dict.fromkeys(each.work_dir for each in gone)
                for folder in [each for each in folders if each not in used][:missing]:
                    self.agent(resources=RESOURCES, work_dir=folder)
                continue
            for _ in range(missing):
                self._start(kind, *(("framework", "batch") if kind == "batch" else ()))
        self.ready()

    @contextlib.contextmanager
    def with_environment(self, **variables: str) -> Iterator[None]:
        """Daemons that are started within have these variables as well."""
        before = dict(self.env)
        self.env.update(variables)
        try:
            yield
        finally:
            self.env.clear()
            self.env.update(before)

    def strike(self, point: str, count: int = 1, *, action: str = "kill") -> Daemon:
        """Kill (or stop) the first daemon that comes to this place for the ``count``-th time; wait for it."""
        assert point in failpoints.POINTS
        new = self.points / f"new.{point}"
        new.write_text(f"{action}@{count}")
        new.rename(self.points / point)

        def struck() -> Daemon | None:
            pids = [int(path.suffix[1:]) for path in self.points.glob(f"{point}.*") if path.suffix[1:].isdecimal()]
            return next((each for each in self.daemons if each.pid in pids), None)

        victim = until(f"somebody comes to {point}", struck)
        if action == "kill":
            victim._killed = True
            assert victim.process.wait(10) == -signal.SIGKILL
        else:
            victim._paused = True
            until("it has stopped", lambda: stopped(victim.pid))
        return victim

    def live(self) -> list[Daemon]:
        return [each for each in self.daemons if each.running]


def stopped(pid: int) -> bool:
    """Whether a process is stopped (SIGSTOP)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


class Background:
    """Runs something in a thread until the end of ``with``, and raises what it raised."""

    def __init__(self, work: Callable[[threading.Event], None]) -> None:
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self._work(self.stop)
        except BaseException as error:
            self.error = error

    def __enter__(self) -> Background:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self._thread.join(20)
        if self._thread.is_alive():
            raise E2EFailed("a thread of the test does not end")
        if self.error is not None:
            raise self.error


class Tap:
    """Hears what goes through exchanges, by queues of its own, until the end of ``with``. ``echo``: sends
    everything once more, which makes a duplicate of each message."""

    def __init__(self, cluster: Cluster, bindings: Sequence[tuple[str, str]], *, echo: bool = False) -> None:
        """``bindings``: exchange and routing key of each."""
        self._cluster = cluster
        self._bindings = bindings
        self._echo = echo
        self._heard: list[tuple[str, str, int]] = []
        self._background = Background(self._listen)
        self._listening = threading.Event()

    def types(self) -> list[str]:
        """The types of the messages so far."""
        return [name for _, name, _ in self._heard]

    def terms(self) -> dict[str, list[int]]:
        """The terms of the messages so far, by routing key."""
        found: dict[str, list[int]] = {}
        for key, _, term in self._heard:
            found.setdefault(key, []).append(term)
        return found

    def __enter__(self) -> Tap:
        self._background.__enter__()
        assert self._listening.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        self._background.__exit__(*error)

    def _listen(self, stop: threading.Event) -> None:
        with self._cluster.channel() as channel:
            queue = channel.queue_declare("", exclusive=True).method.queue
            for exchange, key in self._bindings:
                channel.queue_bind(queue, exchange, key)
            self._listening.set()
            for method, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=0.05):
                if stop.is_set():
                    break
                if method is None:
                    continue
                headers = properties.headers or {}
                if "echo" in headers:
                    continue
                self._heard.append((method.routing_key, properties.type, headers.get("bmesos-term", 0)))
                if self._echo:
                    properties.headers = {**headers, "echo": 1}
                    channel.basic_publish(method.exchange, method.routing_key, body, properties)
