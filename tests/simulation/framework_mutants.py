"""Mistakes to plant in the batch framework and the SDK."""

from __future__ import annotations

from typing import Any

from broker_mesos.core.model.task_states import TaskState
from broker_mesos.errors import StoreUnavailable
from broker_mesos.frameworks.batch.planning import statuses
from broker_mesos.frameworks.batch.scheduler import BatchScheduler
from broker_mesos.sdk.calls import Calls
from broker_mesos.store.memory import MemoryRecords
from tests.simulation.planting import mutant


@mutant
def claims_not_checked(patch: Any) -> None:
    """A worker writes what it has planned, whatever changed meanwhile."""
    transact = MemoryRecords.transact

    async def bold(self: Any, checks: Any, changes: Any) -> Any:
        return await transact(self, (), changes)

    patch(MemoryRecords, "transact", bold)


@mutant
def dropped_loses_the_index(patch: Any) -> None:
    """A launch that was dropped never goes out again."""
    slot_after = statuses._slot_after

    def lossy(status: Any, *more: Any) -> Any:
        return None if status.state is TaskState.DROPPED else slot_after(status, *more)

    patch(statuses, "_slot_after", lossy)


@mutant
def unsettled_claims_forgotten(patch: Any) -> None:
    """Nobody asks about a claim whose worker died before the ACCEPT."""
    from broker_mesos.frameworks.batch.storage.housekeeping import Housekeeping

    async def nothing(self: Any) -> list[Any]:
        return []

    patch(Housekeeping, "overdue", nothing)


@mutant
def claims_due_by_the_clock_of_their_worker(patch: Any) -> None:
    """A worker stores its own wall clock where another one's is compared with it."""
    from broker_mesos.frameworks.batch.planning.jobs import Plan
    from broker_mesos.frameworks.batch.storage.changes import Changes
    from broker_mesos.frameworks.batch.storage.store_clock import StoreClock
    from broker_mesos.ports.store import Change

    apply, due = Changes.apply, MemoryRecords.due

    async def own(self: Any, plan: Plan) -> Any:
        plan.changes = [
            Change("zadd", each.key, each.field, self.clock.time() + float(each.value))
            if each.op == "zadd_after"
            else each
            for each in plan.changes
        ]
        return await apply(self, plan)

    async def trusting(self: Any, key: str, *, limit: int, horizon: float) -> Any:
        return await due(self, key, limit=limit, horizon=10**9)

    patch(StoreClock, "time", lambda self: self._clock.time())
    patch(Changes, "apply", own)
    patch(MemoryRecords, "due", trusting)


@mutant
def claim_without_asking_the_cell(patch: Any) -> None:
    """A claim without a status is given back by the worker alone: it may be running."""
    from broker_mesos.core.model.task import TaskStatus
    from broker_mesos.frameworks.batch.storage.housekeeping import Housekeeping

    overdue = Housekeeping.overdue

    async def rash(self: Any) -> list[Any]:
        found = await overdue(self)
        await self._store.apply([TaskStatus(task_id=each.task_id, state=TaskState.DROPPED, uuid="-") for each in found])
        return []

    patch(Housekeeping, "overdue", rash)


@mutant
def status_acknowledged_before_stored(patch: Any) -> None:
    """A batch worker takes a status for handled although the store did not answer."""
    status_updates = BatchScheduler.status_updates

    async def careless(self: Any, driver: Any, found: Any) -> None:
        try:
            await status_updates(self, driver, found)
        except StoreUnavailable:
            pass

    patch(BatchScheduler, "status_updates", careless)


@mutant
def acknowledged_before_handled(patch: Any) -> None:
    """A framework tells the cell that it has a status before its callback has returned."""
    received = Calls.received

    def hasty(self: Any, status: Any) -> Any:
        found = received(self, status)
        if status.state.terminal and status.agent_id and self.cells:
            from broker_mesos.core.protocol.addresses import cell_of

            self.acknowledge(cell_of(status.agent_id, self.cells), status.task_id)
            self.flush_acknowledgements()
        return found

    patch(Calls, "received", hasty)


@mutant
def demands_forgotten(patch: Any) -> None:
    """Neither the batch framework nor the cells know what tasks demand; agents of this release still refuse."""
    from broker_mesos.core.cell.handlers import accept
    from broker_mesos.frameworks.batch.planning import shapes

    for module in (accept, shapes):
        patch(module, "demanded_words", lambda isolation, limits: ())


@mutant
def attempts_not_kept(patch: Any) -> None:
    """A batch worker forgets how an attempt has ended when its index runs again."""
    from broker_mesos.frameworks.batch.planning import retries, statuses

    for module in (retries, statuses):
        patch(module, "keep_attempt", lambda *arguments: None)


@mutant
def ports_told_twice(patch: Any) -> None:
    """A batch worker tells each task of an agent the agent's first ports."""
    from broker_mesos.frameworks.batch.planning import claims

    def first(ports: Any, names: Any = ()) -> dict[str, str]:
        return {f"PORT{at}": str(1 + at) for at in range(len(port_variables(ports)))}

    port_variables = claims.port_variables
    patch(claims, "port_variables", first)
