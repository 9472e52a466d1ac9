"""The store and the records as a simulated process reaches them: over a connection that delays and breaks.

A call travels, is applied, and its answer travels back. It can be lost on the way there (refused), on the way
back (applied, and nobody knows), or be held up until long after its caller has given up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from broker_mesos.core.protocol.records import Lease, Snapshot
from broker_mesos.errors import StoreUnavailable
from broker_mesos.frameworks.batch.storage.records import CLAIMS
from broker_mesos.ports.store import Change, Check, Commit
from broker_mesos.runtime.timeouts import within
from broker_mesos.store.memory import MemoryRecords, MemoryStore
from broker_mesos.store.memory_streams import MemoryStreams
from tests.simulation.loop import Proc

if TYPE_CHECKING:
    from tests.simulation.world import Node, World

TIMEOUT = 3.0


def _nothing(result: object) -> None:
    pass


class _Far:
    """Replaces how an adapter reaches its state."""

    world: World
    node: Node
    proc: Proc
    again = False
    """Whether the next call may be applied twice, as by a client that retries."""
    applied: Callable[[Any], None] = staticmethod(_nothing)
    """Told when the next call is applied, with its result."""

    async def _call(self, do: Callable[[], Any]) -> Any:
        world = self.world
        future = world.loop.create_future()
        if not self.proc.effect():
            return await future
        twice, self.again = self.again and world.rng.random() < 0.05, False
        applied, self.applied = self.applied, _nothing

        def answer(result: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        def arrive() -> None:
            if self.node.cut_store or world.store_hangs:
                world.held_calls.append(arrive)
                return
            result: Any = None
            error: BaseException | None = None
            if not world.state.available:
                error = StoreUnavailable("connection refused")
            else:
                try:
                    result = do()
                    applied(result)
                    if twice:
                        result = do()
                except Exception as raised:
                    error = raised
            if error is None and world.rng.random() < world.reply_loss:
                error = StoreUnavailable("the connection broke before the answer")
            if error is not None and not isinstance(error, StoreUnavailable):
                world.trace("refused", self.proc, type(error).__name__)
            world.loop.call_later(world.latency(), answer, result, error, context=self.proc.context)

        world.loop.after(world.latency(), arrive)
        try:
            async with within(TIMEOUT):
                return await future
        except TimeoutError:
            raise StoreUnavailable(f"no answer within {TIMEOUT:g} s") from None


class SimStore(_Far, MemoryStore):
    """The Store of one process."""

    def __init__(self, world: World, node: Node, proc: Proc) -> None:
        super().__init__(world.state, world.store_clock)
        self.world, self.node, self.proc = world, node, proc

    async def commit(self, commit: Commit) -> None:
        self.again = True
        self.applied = lambda _: self.world.monitor.committed(commit)
        await super().commit(commit)

    async def claim(self, cell: int, *, owner: str, nonce: str, floor: int, seen: Lease) -> Snapshot:
        self.again = True
        self.applied = lambda found: self.world.monitor.claims(cell, found.lease.term)
        return await super().claim(cell, owner=owner, nonce=nonce, floor=floor, seen=seen)


class SimStreams(_Far, MemoryStreams):
    """The Streams of one process."""

    def __init__(self, world: World, node: Node, proc: Proc) -> None:
        super().__init__(world.state)
        self.world, self.node, self.proc = world, node, proc


class SimRecords(_Far, MemoryRecords):
    """The Records of one process."""

    def __init__(self, world: World, node: Node, proc: Proc, *, space: str = "batch") -> None:
        super().__init__(world.state, space=space)
        self.world, self.node, self.proc = world, node, proc

    async def transact(self, checks: Sequence[Check], changes: Sequence[Change]) -> list[int] | None:
        if self.proc.dies_with_claim and any(each.key == CLAIMS and each.op == "hset" for each in changes):
            self.applied = lambda _: self.proc.die()
        return await super().transact(checks, changes)
