"""Watches the invariants I1 to I8 from outside, as nobody in the cluster could.

What a seed's faults excuse:

- A machine that restarts, and an agent that dies between its journal and the start of a process, lose an
  attempt (TASK_LOST); a retry is used up, and with none left the index ends as lost.
- An agent that was declared unreachable may run a task that a framework has given up (I2 allows it).
- A store that went back in time or was wiped forgets: acknowledged jobs, results and launches of the time in
  between. Then an index may run again, and a job may have to be submitted again. What stays: no machine is
  over-committed, terms rise at every agent, no process is started twice on one machine at once, and all that
  is submitted (again) ends.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_history import steps_until
from broker_mesos.core.model.task_states import TERMINAL, Reason, TaskState
from broker_mesos.core.protocol.records import AgentStatus, RecordKind
from broker_mesos.core.protocol.task_record import TaskRecord
from broker_mesos.frameworks.batch.storage.records import (
    CLAIMS,
    MAX_ATTEMPTS,
    SPECS,
    ClaimRecord,
    ResultRecord,
    TaskName,
    attempt_field,
    attempts_key,
    parse_task_id,
    results_key,
)
from broker_mesos.ports.bus import Delivery, Outgoing
from broker_mesos.ports.containerizer import LaunchSpec
from broker_mesos.ports.store import Commit
from broker_mesos.store import keys

if TYPE_CHECKING:
    from tests.simulation.framework import FrameworkNode
    from tests.simulation.loop import Proc
    from tests.simulation.nodes import AgentNode, Job
    from tests.simulation.world import World


MEMORY_END = "used more than its mem:64 MB"
UNSURE = 5.0
"""Seconds between a decision and what follows from it at most: longer than a store may take to answer."""


NOTICED = 2.5
"""Seconds within which an agent has looked at its disk, and lends nothing if that is short."""


class Execution:
    """One process that ran."""

    def __init__(self, task_id: str, agent: AgentNode, at: float) -> None:
        self.task_id = task_id
        self.agent = agent
        self.at = at
        self.exit_code: int | None = None
        self.lost = False
        self.doubtful = False
        """It ended, and its machine forgot that before anybody had written it down."""

    @property
    def running(self) -> bool:
        return self.task_id in self.agent.machine.running


def _folder(agent: AgentNode) -> str:
    """An agent's work folder: a machine that is installed again has another one, and a clone has a copy."""
    return f"{agent.name}/{agent.agent_id}"


class Monitor:
    """Told of everything, tells the world of breaches."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.executions: defaultdict[str, list[Execution]] = defaultdict(list)
        self.highest: Counter[str] = Counter()
        self.claimed: Counter[int] = Counter()
        self.committed_ends: set[str] = set()
        self.ends_heard: dict[tuple[str, str], TaskState] = {}
        self.committed_ids: set[str] = set()
        self.owed: dict[str, str] = {}
        """Messages that are committed and have not reached the broker."""
        self.answered: set[str] = set()
        """Tasks of which some commit says something."""
        self.unsure: defaultdict[int, float] = defaultdict(lambda: float("-inf"))
        """When a cell was last seen not to know what it does not know."""
        self._given_up = False
        """Whether some agent was, whose tasks may be more than there is room for when it returns."""
        self.memory_ends: defaultdict[str, set[str]] = defaultdict(set)
        """By task: the ids of the statuses that say that it has failed for its memory."""
        self.histories: dict[str, list[str]] = {}
        """By task: the states that it has been in, as they were committed last."""
        self.ports: dict[str, list[int]] = {}
        """The ports that each task was told."""
        self.launches = 0
        self.commits = 0
        self.excused = 0
        """Attempts that may have been lost: by a reboot, or an agent's death in a bad moment."""

    # -- machines -----------------------------------------------------------------------------------------

    def launching(self, agent: AgentNode, spec: LaunchSpec) -> None:
        """A process is about to be started."""
        world, task_id = self.world, spec.task_id
        world.trace("launch", agent.proc, task_id)
        self.launches += 1
        earlier = self.executions[task_id]
        if any(one.running for one in earlier if one.agent is agent):
            world.violation(f"I2: {task_id} is started on {agent.name} where it runs already")
        if earlier and not world.forgetful:
            world.violation(f"I2: {task_id} is started on {agent.name}, was started on {earlier[0].agent.name}")
        if agent.handling is not None and agent.handling.term < self.highest[_folder(agent)]:
            world.violation(f"I4: {agent.name} launches {task_id} under a lower term than it has seen")
        used = Resources.sum(world.need(each) for each in [*agent.machine.running, task_id])
        if not agent.resources.contains(used):
            world.violation(f"I1: {agent.name} has {agent.resources}, and runs {used}")
        earlier.append(Execution(task_id, agent, world.loop.time()))
        if missing := [each for each in world.demanded(task_id) if each not in agent.machine.held.words]:
            world.violation(f"H1: {agent.name} starts {task_id}, and does not hold it to {' '.join(missing)}")
        if world.profile == "placement":
            self._check_placement(agent, spec)
        if agent.short_since is not None and world.loop.time() > agent.short_since + NOTICED and not world.stalled:
            world.violation(f"D1: {agent.name} launches {task_id}, and its disk is short")

    def _check_placement(self, agent: AgentNode, spec: LaunchSpec) -> None:
        """A task is told ports of its own, and stands beside no more tasks like it than may be."""
        world, task_id = self.world, spec.task_id
        told = sorted(int(value) for name, value in spec.env.items() if re.fullmatch("PORT[0-9]+", name))
        held = [port for low, high in spec.ports for port in range(low, high + 1)]
        if told != held and parse_task_id(task_id) is not None:
            world.violation(f"P1: {task_id} is told the ports {told}, and holds {held}")
        self.ports[task_id] = told or held
        running = [*(each for each in agent.machine.running if each != task_id), task_id]
        ports = [port for each in running for port in self.ports[each]]
        if len(ports) > len(set(ports)) or len(self.ports[task_id]) < world.ports_of(task_id):
            world.violation(f"P1: {agent.name} starts {task_id} with the ports {self.ports[task_id]} beside {ports}")
        most, per = world.limit_of(task_id)
        # Cells do not count the tasks in each other, and a task that may run twice is one that its job has given up.
        if not most or (per != "agent" and (world.cells > 1 or world.forgetful)):
            return
        place = agent.attributes.get(per, agent.name)
        there = [each for each in world.agents if each.attributes.get(per, each.name) == place]
        kind = world.kind_of(task_id)
        beside = [each for one in there for each in one.machine.running if world.kind_of(each) == kind] + [task_id]
        if len(set(beside)) > most:
            world.violation(f"P2: {task_id} is started beside {beside} where {per} is {place}, at most {most} may run")

    def collected(self, agent: AgentNode, task_id: str) -> None:
        """The sandbox of a task is deleted."""
        if task_id not in self.committed_ends and not self.world.forgetful:
            self.world.violation(f"D2: {agent.name} deletes the sandbox of {task_id}, whose end no cell has committed")

    def used_again(self, task_id: str) -> None:
        """A framework launches a new task under the id of one whose end it has heard of."""
        self.executions.pop(task_id, None)
        for key in [key for key in self.ends_heard if key[1] == task_id]:
            del self.ends_heard[key]

    def rebooted(self, agent: AgentNode) -> None:
        """A machine restarts; what runs is lost."""
        for executions in self.executions.values():
            for one in executions:
                if one.agent is agent and one.running:
                    one.lost = True
                    self.excused += 1

    def wiped(self, agent: AgentNode) -> None:
        """A machine forgets what ran on it; an end that it had told nobody of is lost, too."""
        for task_id, executions in self.executions.items():
            for one in executions:
                if one.agent is agent and task_id not in self.committed_ends and not one.lost:
                    one.doubtful = True
                    self.excused += 1

    def command_handled(self, agent: AgentNode, term: int, changed: bool) -> None:
        """An agent has seen a term."""
        if term < self.highest[_folder(agent)] and changed:
            self.world.violation(f"I4: {agent.name} applies a command of term {term}, which was replaced")
        if agent.proc is not None and agent.proc.alive:
            self.highest[_folder(agent)] = max(self.highest[_folder(agent)], term)

    def term_saved(self, agent: AgentNode, term: int) -> None:
        """An agent remembers a term."""
        if term < self.highest[_folder(agent)]:
            self.world.violation(f"I4: {agent.name} saved term {term} after {self.highest[_folder(agent)]}")
        self.highest[_folder(agent)] = max(self.highest[_folder(agent)], term)

    def forgotten_by_agent(self, task_id: str) -> None:
        """An agent takes an outcome for acknowledged."""
        if task_id not in self.committed_ends and not self.world.forgetful:
            self.world.violation(f"I8: an agent forgets the end of {task_id}, which no cell has committed")

    # -- cells --------------------------------------------------------------------------------------------

    def claims(self, cell: int, term: int) -> None:
        """A cell has a new owner."""
        if term <= self.claimed[cell] and not self.world.forgetful:
            self.world.violation(f"I4: cell {cell} is claimed under term {term} after {self.claimed[cell]}")
        self.claimed[cell] = max(self.claimed[cell], term)

    def committed(self, commit: Commit) -> None:
        """The store has applied a commit."""
        self.commits += 1
        for write in commit.writes:
            if write.kind is not RecordKind.TASKS:
                continue
            self.answered.add(write.ident)
            self._check_limit(write.ident, write.value)
            if write.value is None:
                self.histories.pop(write.ident, None)
                self._forgotten_by_cell(write.ident)
                continue
            record = TaskRecord.decode(write.value)
            self._check_history(record)
            state = record.state
            if self.world.profile == "clones" and state is TaskState.LOST and self._runs(write.ident):
                self.world.violation(f"I2: {write.ident} is declared lost, and runs on")
            if state in TERMINAL:
                self.committed_ends.add(write.ident)
            elif write.ident in self.committed_ends and not (self.world.forgetful or self.world.profile == "reuse"):
                self.world.violation(f"I5: {write.ident} is {state} after its end was committed")
        # An outcome of a task that nobody waits for is acknowledged without a record.
        for entry in commit.outbox:
            self.committed_ids.add(entry.message_id)
            self.owed[entry.message_id] = f"{entry.type} to {entry.key}"
            if entry.type == "UPDATE":
                for status in json.loads(entry.body)["statuses"]:
                    self.answered.add(status["task_id"])
                    if TaskState(status["state"]) in TERMINAL:
                        self.committed_ends.add(status["task_id"])
                        self._check_memory_end(status)

    def _check_history(self, record: TaskRecord) -> None:
        """What a task has been through is only added to, whoever owns its cell."""
        details, ident = record.details, record.task_id
        steps, cut = steps_until(details.created_at, details.history, details.status)
        states = [each.state for each in steps]
        before, self.histories[ident] = self.histories.get(ident, []), states
        rest = iter(states)
        if cut or self.world.forgetful or self.world.profile == "reuse" or all(each in rest for each in before):
            return
        self.world.violation(f"H4: {ident} was {before}, and its history has {states}")

    def _check_memory_end(self, status: dict[str, Any]) -> None:
        """A task that the kernel has killed for its memory has failed for that, and no other one has; once."""
        task_id, world = status["task_id"], self.world
        is_told = status.get("reason") == Reason.MEMORY_LIMIT
        if is_told:
            self.memory_ends[task_id].add(status["uuid"])
        if len(self.memory_ends[task_id]) > 1 and not world.forgetful:
            world.violation(f"H2: the memory end of {task_id} is told twice")
        if is_told and task_id not in world.memory_ends:
            world.violation(f"H2: {task_id} is said to have failed for its memory, and did not")
        if status["state"] == TaskState.FAILED and not is_told and task_id in world.memory_ends:
            world.violation(f"H2: {task_id} has failed for its memory, and nobody says so")

    def _runs(self, task_id: str) -> bool:
        return any(one.running for one in self.executions[task_id])

    def _check_limit(self, task_id: str, value: bytes | None) -> None:
        """A launch must not pass the limit. What runs anyway is a fact: tasks that may come back with an
        agent that was given up, and those that a store has forgotten."""
        world = self.world
        if world.limit is None or value is None or world.forgetful:
            return
        state = TaskRecord.decode(value).state
        self._given_up = self._given_up or state == "TASK_UNREACHABLE"
        if state == "TASK_STAGING" and not self._given_up and (held := world.held()) > world.limit:
            world.violation(f"I-quota: {held} thousandths of a cpu are held, the limit is {world.limit}")

    def publishes(self, message: Outgoing) -> None:
        """A process is about to publish; the ids of what goes through an outbox have three parts."""
        if message.message_id.count(".") == 2 and message.message_id not in self.committed_ids:
            self.world.violation(f"{message.type} {message.message_id} is published before it is committed")

    def arrived(self, message_id: str) -> None:
        """The broker has a message."""
        self.owed.pop(message_id, None)

    def inbox_acknowledged(self, proc: Proc, queue: str, deliveries: Sequence[Delivery]) -> None:
        """An owner lets the broker forget messages: what was accepted must be answered by a commit. While
        the cell recovers it need not be: a SETTLE will ask."""
        cell = int(queue.rpartition(".")[2])
        master = next((node.master for node in self.world.masters if node.proc is proc), None)
        term = None if master is None else master.owners[cell].term
        now = self.world.loop.time()
        if term is None or not term.cell.state.is_sure(now):
            self.unsure[cell] = now
        # It may have been unsure when it decided, and is sure since.
        if term is None or max(self.unsure[cell], term.cell.state.unsure_until) > now - UNSURE:
            return
        for delivery in deliveries:
            if delivery.type != "ACCEPT" or self.world.forgetful:
                continue
            call = json.loads(delivery.body)
            left = call["framework_id"] == "own" and any(node.finished for node in self.world.frameworks)
            for task in call["tasks"]:
                if task["task_id"] not in self.answered and not left:
                    self.world.violation(f"I8: an ACCEPT of {task['task_id']} is forgotten, and not committed")

    def _forgotten_by_cell(self, task_id: str) -> None:
        """A cell forgets a task: its framework must have taken the end in."""
        self.committed_ends.add(task_id)
        name = parse_task_id(task_id)
        if self.world.forgetful or name is None or name.job_id not in self.world.by_id:
            return
        claim = self.record(CLAIMS, name.claim)
        if claim is not None and ClaimRecord.model_validate_json(claim).launch == name.launch:
            self.world.violation(f"I8: a cell forgets {task_id}, whose end is in no result")

    def look(self) -> None:
        """Look into every owner whose lease is good, and at every machine."""
        world = self.world
        for node in world.masters:
            if not node.alive or node.master is None:
                continue
            for owner in node.master.owners:
                term = owner.term
                if term is None:
                    continue
                lease = world.state.facts.cells.get(owner.number)
                if lease is None or (lease.term, lease.nonce) != (term.cell.term, term._nonce):
                    continue
                if not term.cell.state.is_sure(world.loop.time()):
                    self.unsure[owner.number] = world.loop.time()
                for breach in term.cell.state.breaches():
                    world.violation(f"cell {owner.number} of {node.name}: {breach}")
        for agent in world.agents:
            used = Resources.sum(world.need(each) for each in agent.machine.running)
            if not agent.resources.contains(used):
                world.violation(f"I1: {agent.name} has {agent.resources}, and runs {used}")
        self._look_at_frameworks()
        if not world.forgetful:
            for job in world.jobs:
                if job.acknowledged and self.record(SPECS, job.job_id) is None:
                    world.violation(f"I3: job {job.job_id} was acknowledged and is not in the store")

    def _look_at_frameworks(self) -> None:
        """No framework is away for as long as its failover timeout, and none of them asks for its end before
        its work is done."""
        ended = {node.framework_id for node in self.world.frameworks if len(node.book.done) == node.book.items}
        for cell, facts in self.world.state.facts.cells.items():
            for ident, body in facts.records[RecordKind.FRAMEWORKS].items():
                if b'"torn-down"' in body and ident not in ended:
                    self.world.violation(f"I3: cell {cell} tore {ident} down, whose work is not done")

    # -- frameworks and clients ---------------------------------------------------------------------------

    def framework_heard(self, node: FrameworkNode, status: TaskStatus) -> None:
        """A framework's callback got a status."""
        world = self.world
        world.trace("heard", node.proc, status.task_id, status.state)
        if status.state is TaskState.UNKNOWN or world.forgetful:
            return
        # What was delivered to another process of the framework may be heard late; an end is an end for all.
        assert node.proc is not None
        ended = self.ends_heard.get(("" if status.state.terminal else node.proc.name, status.task_id))
        if ended is not None and status.state is not ended:
            world.violation(f"I5: {node.name} hears that {status.task_id} is {status.state} after {ended}")
        if status.state.terminal:
            for whose in ("", node.proc.name):
                self.ends_heard[whose, status.task_id] = status.state
            if status.state is TaskState.FINISHED and not self.executions.get(status.task_id):
                world.violation(f"{status.task_id} is said to have finished, and never ran")

    def acknowledged(self, job: Job) -> None:
        """A client was told that its job is stored."""
        if self.record(SPECS, job.job_id) is None and not self.world.forgetful:
            self.world.violation(f"I3: job {job.job_id} is acknowledged and is not in the store")

    def job_gone(self, job: Job) -> None:
        """A client is told that its job is not known."""
        if not self.world.forgetful:
            self.world.violation(f"I3: job {job.job_id} was acknowledged and is gone")

    def record(self, key: str, field: str) -> str | None:
        """A field of the batch framework's records."""
        name = keys.records("memory", "batch") + key
        return self.world.state.facts.hashes.get(name, {}).get(field)

    # -- the end ------------------------------------------------------------------------------------------

    def unsettled(self) -> str:
        """What is still to end, in words; empty if nothing is."""
        world = self.world
        for job in world.jobs:
            if job.ended is None:
                return f"job {job.job_id} has not ended: {world.describe(job)}"
        for node in world.frameworks:
            if not node.finished:
                book = node.book
                return (
                    f"{node.name} is not done: {len(book.done)} of {book.items} done, to do {book.todo}, "
                    f"launched {book.launched}"
                )
        if world.wiped:
            return f"nobody has marked {list(world.wiped)} as gone"
        for agent in world.agents:
            if agent.machine.running:
                return f"{agent.name} still runs {agent.machine.running}"
        owned = {owner.number: owner.term for node in world.masters if node.alive and node.master
                 for owner in node.master.owners if owner.term is not None}  # fmt: skip
        for cell in range(world.cells):
            term = owned.get(cell)
            if term is None:
                return f"cell {cell} has no owner"
            state = term.cell.state
            if state.tasks:
                return f"cell {cell} still holds {[(t.task_id, t.state) for t in state.tasks.values()]}"
            for agent in state.agents.values():
                if agent.used:
                    return f"cell {cell}: {agent.ident} uses {agent.used}"
                if agent.state is AgentStatus.GONE:
                    continue
                if not agent.session or agent.state is not AgentStatus.REGISTERED:
                    return f"cell {cell}: {agent.ident} is {agent.state}, its session {agent.session!r}"
            if state.offers:
                return f"cell {cell} has open offers: {list(state.offers)}"
            stored = world.state.facts.cells.get(cell)
            if stored is None or stored.nonce != term._nonce:
                return f"cell {cell} is not owned by the one who thinks so"
            left = stored.outbox
            if len(left) > 50:
                return f"cell {cell} has {len(left)} entries in its outbox"
        for agent in world.agents:
            if agent.daemon is None or not agent.daemon.registered.is_set():
                return f"{agent.name} is not registered"
            if agent.daemon.state.outcomes.unacknowledged():
                return f"{agent.name} has outcomes that nobody acknowledges"
        if self.owed and not world.forgetful:
            return f"is committed and not published: {list(self.owed.items())[:3]}"
        return ""

    def judge_results(self) -> None:
        """Every index of every job has exactly one result, and it is what has happened."""
        world = self.world
        if world.forgetful:
            return
        self._judge_waiting()
        for job in world.jobs:
            summary = job.ended
            assert summary is not None
            first = job.spec.array[0] if job.spec.array else 0
            by_state: Counter[str] = Counter()
            for index in range(first, first + job.spec.total):
                text = self.record(results_key(job.job_id), str(index))
                if text is None:
                    # Indices of a killed job that never ran have no result of their own.
                    by_state["killed"] += 1
                    if not world.killed_jobs.get(job.job_id):
                        world.violation(f"I3: {job.job_id}.{index} has no result")
                    continue
                result = ResultRecord.model_validate_json(text)
                by_state["failed" if result.state == "lost" else result.state] += 1
                self._judge(job, index, result)
            for state in ("finished", "failed", "killed"):
                if summary.counts[state] != by_state[state]:
                    world.violation(f"{job.job_id}: {summary.counts} in its summary, {dict(by_state)} in results")
            if summary.counts["pending"] or summary.counts["running"]:
                world.violation(f"{job.job_id} has ended with {summary.counts}")

    def _judge_waiting(self) -> None:
        """Tasks that need whole agents begin while small ones still wait."""
        begun = {name: [] for name in ("small", "large")}  # type: dict[str, list[float]]
        for task_id, executions in self.executions.items():
            name = parse_task_id(task_id)
            if name is not None and name.job_id in begun:
                begun[name.job_id] += [one.at for one in executions]
        if begun["large"] and max(begun["small"]) < min(begun["large"]):
            self.world.violation("large tasks began after the last of the small ones")

    def _attempts(self, job_id: str, index: int, launch: int) -> list[ResultRecord]:
        """The attempts before a launch that are kept."""
        fields = [attempt_field(index, each) for each in range(1, launch)]
        texts = [self.record(attempts_key(job_id), each) for each in fields]
        return [ResultRecord.model_validate_json(each) for each in texts if each is not None]

    def _judge(self, job: Job, index: int, result: ResultRecord) -> None:
        world = self.world
        prefix = f"{job.job_id}.{index}."
        ran = [one for task_id, each in self.executions.items() if task_id.startswith(prefix) for one in each]
        told = TaskName(job.job_id, index, result.attempt, result.launch).task_id
        finished = [
            one
            for one in ran
            if world.exit_codes.get(one.task_id) == 0 and not one.lost and (not one.doubtful or one.task_id == told)
        ]
        ids = [one.task_id for one in ran]
        where = f"{job.job_id}.{index}: {result.state} at attempt {result.attempt}, ran {ids}"
        if job.spec.rerun:
            # It may run twice at once, and what came of the first does not count.
            if result.state == "finished" and not finished:
                world.violation(f"finished, and never did: {where}")
            return
        if len(ran) > result.attempt:
            world.violation(f"ran more often than it had attempts: {where}")
        if result.attempt > 1 + job.spec.retries:
            world.violation(f"more attempts than allowed: {where}")
        kept = {each.attempt for each in self._attempts(job.job_id, index, result.launch)}
        if (missing := set(range(1, result.attempt)) - kept) and result.launch <= MAX_ATTEMPTS:
            world.violation(f"H4: the attempts {sorted(missing)} are not kept: {where}")
        if result.state == "finished":
            if len(finished) != 1 or finished[0].task_id != told:
                world.violation(f"finished otherwise than it ran: {where}")
        elif result.state == "failed":
            if told in world.memory_ends and MEMORY_END not in result.message:
                world.violation(f"H2: failed for its memory, which its result does not say: {where}")
            if world.exit_codes.get(told) != 1:
                world.violation(f"failed without a failure: {where}")
            killed = world.killed_jobs.get(job.job_id)
            spared = self.excused or world.agents_died or killed
            if not spared and len(ran) != 1 + job.spec.retries:
                world.violation(f"failed without all its attempts: {where}")
        elif result.state == "lost":
            if not self.excused and not world.agents_died:
                world.violation(f"lost without a reason: {where}")
        elif not world.killed_jobs.get(job.job_id):
            world.violation(f"killed by nobody: {where}")
