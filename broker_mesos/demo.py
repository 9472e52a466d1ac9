"""``make demo``: the worked example, step by step, and a job array, on a cluster inside this process.

Nothing here is a canned text: every number comes out of a message that really arrived, and is compared with
what is promised. Exits with 1 and one line on stderr if anything differs.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.text import Text

from broker_mesos.client import Client
from broker_mesos.core.api.agents import AgentView
from broker_mesos.core.api.jobs import JobSummary, JobTask
from broker_mesos.core.model.framework import FrameworkInfo
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo, TaskInfo, TaskStatus
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.errors import BrokerMesosError
from broker_mesos.runtime.clock import SystemClock, new_id
from broker_mesos.runtime.logs import configure
from broker_mesos.runtime.settings import load
from broker_mesos.runtime.timeouts import within
from broker_mesos.sdk import Driver, Scheduler
from broker_mesos.wiring.local import LocalCluster

AGENT = Resources.parse("cpus:4;mem:4096")
WANTED = {"task-1": Resources.parse("cpus:2;mem:1024"), "task-2": Resources.parse("cpus:1;mem:2048")}
LEFT = Resources.parse("cpus:1;mem:1024")
ARRAY = 8
STEP_TIMEOUT_SECONDS = 15.0
"""Timeout for one step, in seconds."""

T = TypeVar("T")


class Differs(Exception):
    """A result differs from the expected one."""


def check(what: str, got: object, promised: object) -> None:
    """Raise Differs unless both values are equal."""
    if got != promised:
        raise Differs(f"{what}: promised {promised}, got {got}")


class Printer:
    """Prints numbered steps and lines below them, in colour on a terminal unless NO_COLOR is set."""

    def __init__(self) -> None:
        plain = not sys.stdout.isatty() or bool(os.environ.get("NO_COLOR"))
        self._console = Console(highlight=False, soft_wrap=True, color_system=None if plain else "auto", no_color=plain)
        self._step = 0

    def title(self, text: str) -> None:
        """Print a heading."""
        self._console.print(Text(f"\n{text}", "bold"))

    def step(self, text: str) -> None:
        """Print the next numbered step."""
        self._step += 1
        self._console.print(Text.assemble(("\n" if self._step > 1 else ""), (f"{self._step}. {text}", "cyan")))

    def line(self, who: str, what: str, amount: object = "", note: str = "") -> None:
        """Print a line about an action, with its amount."""
        shown = [(f"   {who:<14}", "bold"), (f" {what:<16}", "")]
        if str(amount):
            shown.append((f" {amount!s:<15}", "green"))
        self._console.print(Text.assemble(*shown, (f"  {note}".rstrip(), "dim")))


class Recorder(Scheduler):
    """A framework that decides nothing by itself: its events wait in queues until the demo handles them."""

    def __init__(self) -> None:
        self.known = asyncio.Event()
        self.offers: asyncio.Queue[Offer] = asyncio.Queue()
        self.statuses: asyncio.Queue[TaskStatus] = asyncio.Queue()

    def registered(self, driver: Driver, framework_id: str) -> None:
        self.known.set()

    def resource_offers(self, driver: Driver, offers: Sequence[Offer]) -> None:
        for offer in offers:
            self.offers.put_nowait(offer)

    def status_update(self, driver: Driver, status: TaskStatus) -> None:
        self.statuses.put_nowait(status)


class Framework:
    """A scheduler with its driver, which is connected to the cluster."""

    def __init__(self, name: str, cluster: LocalCluster) -> None:
        self.name = name
        self.scheduler = Recorder()
        self._bus = cluster.bus(name)
        info = FrameworkInfo(framework_id=name, name=name)
        self.driver = Driver(self.scheduler, info, self._bus, clock=SystemClock(), new_id=new_id)
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Framework:
        await self._bus.open(STEP_TIMEOUT_SECONDS)
        self._running = asyncio.create_task(self.driver.run(), name=self.name)
        await in_time(self.scheduler.known.wait(), f"{self.name} is registered")
        return self

    async def __aexit__(self, *error: object) -> None:
        self.driver.stop()
        if self._running is not None:
            await asyncio.wait([self._running], timeout=STEP_TIMEOUT_SECONDS)
        await self._bus.close()


class Gate:
    """A pipe that a task reads from: the task works until ``open`` ends it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / name
        os.mkfifo(self.path)
        # The pipe is opened for both, so that neither this side nor the task has to wait for the other.
        self._fd = os.open(self.path, os.O_RDWR)

    def open(self) -> None:
        """Let the task end."""
        os.write(self._fd, b"done\n")

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._fd)


async def in_time(work: Awaitable[T], what: str) -> T:
    """The result of an action. Raises Differs when it does not arrive in time."""
    try:
        async with within(STEP_TIMEOUT_SECONDS):
            return await work
    except TimeoutError:
        raise Differs(f"waited {STEP_TIMEOUT_SECONDS:g} s in vain until {what}") from None


async def first_offer(frameworks: Sequence[Framework], what: str) -> tuple[Framework, Offer]:
    """The next offer to any of the frameworks."""
    waiting = {asyncio.ensure_future(each.scheduler.offers.get()): each for each in frameworks}
    try:
        await in_time(asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED), what)
        done = next((task for task in waiting if task.done()), None)
        if done is None:
            raise Differs(f"waited in vain until {what}")
        return waiting[done], done.result()
    finally:
        for task in waiting:
            task.cancel()


class Demo:
    """The steps of the demo, and the objects that they need."""

    def __init__(self, cluster: LocalCluster, client: Client, folder: Path) -> None:
        self._cluster = cluster
        self._client = client
        self._folder = folder
        self._show = Printer()

    async def run(self) -> None:
        """Run all steps. Raises Differs."""
        self._show.title("The worked example: one agent, two frameworks")
        async with AsyncExitStack() as stack:
            gates = {name: Gate(self._folder, name) for name in WANTED}
            for gate in gates.values():
                stack.callback(gate.close)
            await self._reports()
            one = await stack.enter_async_context(Framework("framework-1", self._cluster))
            offer = await self._offers_all(one)
            two = await stack.enter_async_context(Framework("framework-2", self._cluster))
            await self._launches(one, offer, gates)
            await self._offers_the_rest(two)
            for name, gate in gates.items():
                await self._finishes(one, two, name, gate)
            await self._all_free()
        self._show.title("A job array, through the operator API")
        await self._array()

    # -- the worked example -----------------------------------------------------------------------------

    async def _reports(self) -> None:
        self._show.step("the agent has registered, and reports what it has")
        agent = await self._agent()
        self._show.line(agent.agent_id, "reports", agent.total, f"process {agent.pid} on {agent.hostname}")
        check("the agent's resources", agent.total, AGENT)

    async def _offers_all(self, one: Framework) -> Offer:
        self._show.step("the policy offers all of it to framework 1")
        offer = await in_time(one.scheduler.offers.get(), "framework-1 has an offer")
        self._show.line(one.name, "is offered", offer.resources, f"of {offer.agent_id}: {offer.offer_id}")
        check("the first offer", offer.resources, AGENT)
        return offer

    async def _launches(self, one: Framework, offer: Offer, gates: dict[str, Gate]) -> None:
        self._show.step("framework 1 launches two tasks on it")
        tasks = [
            TaskInfo(
                task_id=name,
                resources=need,
                command=CommandInfo(
                    arguments=(f'read -r word < "$GATE"; echo "{name} $word"',),
                    shell=True,
                    environment={"GATE": str(gates[name].path)},
                ),
            )
            for name, need in WANTED.items()
        ]
        for task in tasks:
            self._show.line(one.name, f"launches {task.task_id}", task.resources)
        one.driver.accept(offer, tasks)
        running: dict[str, TaskStatus] = {}
        while len(running) < len(tasks):
            status = await in_time(one.scheduler.statuses.get(), "both tasks run")
            if status.task_id in running:
                continue
            check(f"the state of {status.task_id}", status.state, TaskState.RUNNING)
            running[status.task_id] = status
            self._show.line(status.agent_id, f"runs {status.task_id}", note=status.state.value)
        check("the tasks that run", set(running), set(WANTED))

    async def _offers_the_rest(self, two: Framework) -> None:
        self._show.step("what is left is offered to framework 2")
        offer = await in_time(two.scheduler.offers.get(), "framework-2 has an offer")
        self._show.line(two.name, "is offered", offer.resources, f"of {offer.agent_id}: {offer.offer_id}")
        check("the offer to framework 2", offer.resources, LEFT)
        agent = await self._agent()
        self._show.line(agent.agent_id, "in use", agent.used)
        self._show.line(agent.agent_id, "offered", agent.offered)
        check("what is in use", agent.used, Resources.sum(WANTED.values()))
        check("what is offered", agent.offered, LEFT)

    async def _finishes(self, one: Framework, two: Framework, name: str, gate: Gate) -> None:
        self._show.step(f"{name} finishes, and what it used is offered again")
        gate.open()
        status = await in_time(one.scheduler.statuses.get(), f"{name} has ended")
        while not status.state.terminal:
            status = await in_time(one.scheduler.statuses.get(), f"{name} has ended")
        self._show.line(status.agent_id, f"reports {status.task_id}", note=_how(status))
        check("the task that ended", (status.task_id, status.state), (name, TaskState.FINISHED))
        who, offer = await first_offer([one, two], f"what {name} used is offered again")
        self._show.line(who.name, "is offered", offer.resources, f"of {offer.agent_id}: {offer.offer_id}")
        check("the offer that follows", offer.resources, WANTED[name])

    async def _all_free(self) -> None:
        agent = await self._agent()
        check("what is in use in the end", agent.used, Resources.EMPTY)

    async def _agent(self) -> AgentView:
        agents = await asyncio.to_thread(self._client.agents)
        check("the number of agents", len(agents), 1)
        return agents[0]

    # -- the job array ----------------------------------------------------------------------------------

    async def _array(self) -> None:
        summary, tasks, outputs = await asyncio.to_thread(self._run_array)
        check("the state of the job", summary.state, "finished")
        check("tasks of the job that finished", summary.counts.get("finished"), ARRAY)
        for task, output in zip(tasks, outputs, strict=True):
            note = f"exit code {task.exit_code}, on {task.agent_id}"
            self._show.line(task.task_id, task.state, output, note)
            check(f"the output of index {task.index}", output, f"{task.index} squared is {task.index**2}")
        check("the indices that ran", [task.index for task in tasks], list(range(1, ARRAY + 1)))
        took = (summary.ended_at or summary.submitted_at) - summary.submitted_at
        self._show.line(f"job {summary.job_id}", summary.state, f"{summary.total} tasks", f"in {took:.2f} s")

    def _run_array(self) -> tuple[JobSummary, list[JobTask], list[str]]:
        command = 'i=$BMESOS_ARRAY_INDEX; echo "$i squared is $((i * i))"'
        self._show.step(f"bmesos submit --array {ARRAY} --shell '{command}'")
        job = self._client.submit(command, name="squares", array=ARRAY)
        summary = job.wait(STEP_TIMEOUT_SECONDS)
        tasks = list(job.tasks())
        return summary, tasks, [b"".join(job.logs(task.index)).decode().strip() for task in tasks]


def _how(status: TaskStatus) -> str:
    took = f", after {status.timestamp - status.started_at:.2f} s" if status.started_at else ""
    return f"{status.state.value}, exit code {status.exit_code}{took}"


async def play() -> None:
    """Run the whole demo. Raises Differs, or an error of ``broker_mesos.errors``."""
    # The values given here precede settings for a user's servers, which may be in the environment or in the folder.
    settings = load(log_level="error", cluster="demo", cells=1, offer_timeout=60.0)
    configure(settings.log_level, settings.log_format)
    with tempfile.TemporaryDirectory(prefix="bmesos-demo-") as folder:
        cluster = LocalCluster(settings, resources=AGENT, port=0, work_dir=Path(folder, "work"))
        async with cluster:
            with Client(cluster.url) as client:
                await Demo(cluster, client, Path(folder)).run()


def main() -> int:
    """Run the demo, and return the exit code."""
    began = time.monotonic()
    try:
        asyncio.run(play())
    except (Differs, BrokerMesosError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"\nEverything as promised, in {time.monotonic() - began:.1f} s. Next: README.md, docs/quickstart.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
