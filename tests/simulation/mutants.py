"""Mistakes to plant in the store, the master, the cell and the agent."""

from __future__ import annotations

import dataclasses
from typing import Any

from broker_mesos.agent.effects import Checkpoint
from broker_mesos.agent.outcomes import Outcomes
from broker_mesos.agent.state import AgentMachine
from broker_mesos.agent.tasks import TaskTable
from broker_mesos.core.cell.handlers import agents, offers, tasks
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.task import Task
from broker_mesos.core.cell.views.agent_index import AgentIndex
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.agent_messages import KillTasks, LaunchTasks
from broker_mesos.core.protocol.task_record import TaskRecord
from broker_mesos.errors import StoreUnavailable
from broker_mesos.master.term import Term
from broker_mesos.store.memory import MemoryStore
from tests.simulation.planting import mutant

# -- what operators see -----------------------------------------------------------------------------------


@mutant
def history_forgotten_by_the_next_owner(patch: Any) -> None:
    """A new owner of a cell does not load when tasks were staged, nor what they have been through since."""
    decode = Task.decode

    def forgetful(stored: bytes, names: Any = None) -> Any:
        task = decode(stored, names)
        task.details.history, task.details.created_at = (), 0.0
        return task

    patch(Task, "decode", forgetful)


# -- the store and the master -----------------------------------------------------------------------------


@mutant
def limit_raised_without_the_others(patch: Any) -> None:
    """A cell raises its part of a limit without a look at the parts of the others."""
    from broker_mesos.master import shared_quota

    settle = shared_quota.settle

    def alone(ask: Any, cell: int, cells: int, term: int, stored: Any) -> Any:
        own = stored.get(str(cell))
        return settle(ask, 0, 1, term, {} if own is None else {"0": own})

    patch(shared_quota, "settle", alone)


@mutant
def change_numbers_without_a_term(patch: Any) -> None:
    """An owner takes the change number of an earlier owner for one of its own."""
    patch(AgentIndex, "knows", lambda self, term, number: self._forgotten <= number <= self._number)


@mutant
def no_fencing(patch: Any) -> None:
    """The store applies every commit, whoever sends it."""
    commit = MemoryStore.commit

    async def careless(self: Any, made: Any) -> None:
        stored = self._cell(made.cell)
        fitting = dataclasses.replace(
            made, term=stored.term, nonce=stored.nonce, number=stored.commit + 1, commit_id="-"
        )
        await commit(self, fitting)

    async def renew(self: Any, cell: int, *, term: int, nonce: str, commit: int = 0, recovered: bool = False) -> None:
        pass

    patch(MemoryStore, "commit", careless)
    patch(MemoryStore, "renew", renew)


@mutant
def outbox_skipped(patch: Any) -> None:
    """What is to be published is not stored with the commit."""
    commit = MemoryStore.commit

    async def careless(self: Any, made: Any) -> None:
        await commit(self, dataclasses.replace(made, outbox=()))

    patch(MemoryStore, "commit", careless)


@mutant
def outbox_published_before_commit(patch: Any) -> None:
    """Launches and statuses go out before they are stored."""
    commit_now = Term._commit_now

    async def hasty(self: Any, decision: Any) -> None:
        self.outbox.publish(decision.outbox)
        await commit_now(self, decision)

    patch(Term, "_commit_now", hasty)


@mutant
def acknowledged_before_commit(patch: Any) -> None:
    """The broker may forget messages whose effects are not stored."""
    carry_out = Term._carry_out

    async def hasty(self: Any, decision: Any, deliveries: Any) -> None:
        self._consumer.acknowledge(deliveries)
        await carry_out(self, decision, deliveries)

    patch(Term, "_carry_out", hasty)


@mutant
def lost_reply_taken_for_success(patch: Any) -> None:
    """A commit without an answer counts as applied."""
    commit_now = Term._commit_now

    async def hopeful(self: Any, decision: Any) -> None:
        try:
            await commit_now(self, decision)
        except StoreUnavailable:
            self._commit += 1

    patch(Term, "_commit_now", hopeful)


@mutant
def floor_of_terms_forgotten(patch: Any) -> None:
    """A new term is one above the stored one, whatever agents have seen."""
    claim = MemoryStore.claim

    async def low(self: Any, cell: int, *, floor: int, **more: Any) -> Any:
        return await claim(self, cell, floor=0, **more)

    patch(MemoryStore, "claim", low)


# -- the cell ---------------------------------------------------------------------------------------------


@mutant
def absence_by_the_calendar(patch: Any) -> None:
    """How long a framework was away is computed from the owners' calendars."""
    from broker_mesos.core.cell.cell import Cell

    decide = Cell.decide

    def by_calendar(self: Any, inputs: Any, now: Any, **more: Any) -> Any:
        self.state.seconds, self.state.ticked_at = now.wall, now.mono
        return decide(self, inputs, now, **more)

    patch(Cell, "decide", by_calendar)


@mutant
def no_agent_kept_free(patch: Any) -> None:
    """No gang and no large task ever has the token, so that free resources are kept for none of them."""
    from broker_mesos.core.cell.allocation import gang_token

    patch(gang_token, "tick", lambda state, out, now: None)


@mutant
def clone_believed(patch: Any) -> None:
    """The list of an agent's clone is applied while the agent is alive."""
    patch(agents, "_live_for", lambda *arguments: 0.0)


@mutant
def resources_freed_twice(patch: Any) -> None:
    """The end of a task gives back what it used, and again."""
    end_task = CellState.end_task

    def generous(self: Any, task: Any, state: Any) -> None:
        end_task(self, task, state)
        agent = self.agents.get(task.agent_id)
        if agent is not None and agent.used.contains(task.resources):
            agent.used -= task.resources
            agent.recompute_free()

    patch(CellState, "end_task", generous)


@mutant
def final_states_are_not_final(patch: Any) -> None:
    """A late status revives a task that has ended."""
    patch(tasks, "may_move", lambda old, new: old is not new and not (old.terminal and new.terminal))


@mutant
def session_of_the_unreachable_lives_on(patch: Any) -> None:
    """An unreachable agent's launches can still start."""
    unreachable = agents.unreachable

    def lax(state: Any, agent: Any, why: str, out: Any, now: Any) -> None:
        session = agent.session
        unreachable(state, agent, why, out, now)
        agent.session = session

    patch(agents, "unreachable", lax)


@mutant
def settle_leaves_the_offer_open(patch: Any) -> None:
    """SETTLE says that a task is dropped, and its ACCEPT still launches it."""
    on_settle = offers.on_settle

    def lax(state: Any, framework: Any, call: Any, out: Any, now: Any) -> None:
        known = state.offers
        state.offers = {}
        try:
            on_settle(state, framework, call, out, now)
        finally:
            state.offers = known

    patch(offers, "on_settle", lax)


@mutant
def updates_are_never_sent_again(patch: Any) -> None:
    """A framework's missed update is gone."""
    patch(tasks, "resend", lambda *arguments, **more: None)


@mutant
def acknowledged_without_commit(patch: Any) -> None:
    """An agent's outcome is acknowledged, and not written down."""
    on_status = tasks.on_status

    def sloppy(state: Any, agent_id: str, status: Any, out: Any, now: Any) -> None:
        if status.state.terminal and out.decision.writes == [] and len(state.tasks) % 3 == 0:
            out.acknowledge(agent_id, status.uuid)
            return
        on_status(state, agent_id, status, out, now)

    patch(tasks, "on_status", sloppy)


@mutant
def limits_forgotten_by_a_new_owner(patch: Any) -> None:
    """A new owner does not read which shapes the stored tasks are of, for which others may be limited."""
    decode = TaskRecord.decode.__func__  # type: ignore[attr-defined]

    def forgetful(cls: Any, stored: bytes, names: Any = None) -> Any:
        record = decode(cls, stored, names)
        record.shape = ""
        return record

    patch(TaskRecord, "decode", classmethod(forgetful))


# -- the agent --------------------------------------------------------------------------------------------


@mutant
def command_numbers_not_checked(patch: Any) -> None:
    """An agent does not see that a command is missing."""

    def lax(self: Any, command: Any, now: Any) -> Any:
        self.applied = command.number
        if isinstance(command, KillTasks):
            return self.table.kill(command.task_ids, now)
        return self.table.launch(command.launches, now)

    patch(AgentMachine, "_in_session", lax)


@mutant
def session_not_checked(patch: Any) -> None:
    """An agent applies commands of earlier sessions."""
    on_command = AgentMachine.on_command

    def lax(self: Any, message: Any, term: int, now: Any) -> Any:
        if isinstance(message, LaunchTasks | KillTasks) and self.session:
            message = message.model_copy(update={"session": self.session, "number": self.applied + 1})
        return on_command(self, message, term, now)

    patch(AgentMachine, "on_command", lax)


@mutant
def term_not_checked(patch: Any) -> None:
    """An agent obeys an owner that was replaced."""
    on_command = AgentMachine.on_command

    def lax(self: Any, message: Any, term: int, now: Any) -> Any:
        return on_command(self, message, max(term, self.highest_term), now)

    patch(AgentMachine, "on_command", lax)


@mutant
def launched_before_the_checkpoint(patch: Any) -> None:
    """A process starts before it is written down."""
    launch = TaskTable.launch

    def hasty(self: Any, launches: Any, now: Any) -> Any:
        effects = launch(self, launches, now)
        return sorted(effects, key=lambda effect: isinstance(effect, Checkpoint))

    patch(TaskTable, "launch", hasty)


@mutant
def outcomes_not_sent_again(patch: Any) -> None:
    """An agent says once how a task ended, and takes it for heard."""
    due = Outcomes.due

    def silent(self: Any, now: float) -> list[Any]:
        due(self, now)
        return []

    patch(Outcomes, "unacknowledged", lambda self: [])
    patch(Outcomes, "due", silent)


@mutant
def outcomes_forget_their_offer(patch: Any) -> None:
    """An agent takes a new task for a repeat of an earlier one with the same id."""
    patch(Outcomes, "is_of", lambda self, task_id, offer_id: task_id in self)


@mutant
def fit_not_checked(patch: Any) -> None:
    """An agent launches what does not fit, and a cell offers what is in use."""
    recompute_free = agents.Agent.recompute_free

    def generous(self: Any) -> None:
        recompute_free(self)
        self.free = self.info.resources.clipped_minus(self.offered)

    patch(agents.Agent, "recompute_free", generous)
    patch(Resources, "contains", lambda self, other: True)


@mutant
def outcomes_of_an_earlier_process_count_as_acknowledged(patch: Any) -> None:
    """An agent's next process deletes sandboxes although nobody has heard how their tasks ended."""
    recover, is_unacknowledged = AgentMachine.recover, Outcomes.is_unacknowledged

    def forgetful(self: Any, *arguments: Any, **more: Any) -> Any:
        effects = recover(self, *arguments, **more)
        self.outcomes.old = {each.task_id for each in self.outcomes.unacknowledged()}
        return effects

    def careless(self: Any, task_id: str) -> bool:
        return task_id not in getattr(self, "old", ()) and is_unacknowledged(self, task_id)

    patch(AgentMachine, "recover", forgetful)
    patch(Outcomes, "is_unacknowledged", careless)


@mutant
def short_disk_forgotten_by_the_next_process(patch: Any) -> None:
    """An agent looks at its disk only after a while, and until then lends what it has."""
    from broker_mesos.agent.disk_keeper import DiskKeeper

    run = DiskKeeper.run

    async def late(self: Any) -> None:
        await self._clock.sleep(8.0)
        await run(self)

    patch(DiskKeeper, "run", late)


@mutant
def memory_ends_untold(patch: Any) -> None:
    """An agent reports a task that the kernel has killed for its memory as one that has failed by itself."""
    from broker_mesos.agent.running import RunningTask

    outcome_of = RunningTask.outcome_of

    def forgetful(self: Any, event: Any) -> Any:
        return outcome_of(self, event._replace(limit="", limit_kind=""))

    patch(RunningTask, "outcome_of", forgetful)
