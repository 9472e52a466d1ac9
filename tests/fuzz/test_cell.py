"""A cell keeps its invariants, and its records readable, whatever agents and frameworks send it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from broker_mesos.core.api.maintenance import ScheduleMaintenance
from broker_mesos.core.cell.cell import Cell
from broker_mesos.core.cell.inputs import (
    CELL_MESSAGES,
    Configured,
    ConsumersCounted,
    OffersReturned,
    OperatorMaintain,
    OperatorOperate,
)
from broker_mesos.core.model.framework import GPU_RESOURCES, REVOCABLE_RESOURCES
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.limits import Instant, Limits
from broker_mesos.core.protocol.records import Lease, RecordKind, Snapshot
from broker_mesos.core.protocol.registry import decode
from broker_mesos.core.protocol.wire import MAX_BODY, REGISTRY
from broker_mesos.core.quota.cluster_config import ClusterConfig
from broker_mesos.errors import InvalidMessage
from tests.core.cell import strategies
from tests.core.cell.harness import Bench, offers_in, task
from tests.fuzz.effort import count, fuzz
from tests.fuzz.values import bodies, encoded, resolved

TYPES = sorted(name for name, kind in REGISTRY.items() if issubclass(kind, CELL_MESSAGES))
STEPS = st.sampled_from((0.0, 0.0, 0.3, 1.5, 40.0))
OPERATORS = st.one_of(
    st.builds(ConsumersCounted, st.sampled_from(("f1", "f2", "new")), st.sampled_from((None, 0, 1))),
    st.builds(OffersReturned, st.sampled_from(("f1", "new"))),
    st.builds(OperatorOperate, strategies.agents, strategies.operations),
    st.builds(
        lambda agent, start, duration: OperatorMaintain(
            ScheduleMaintenance(agent_ids=(agent,), start=start, duration=duration)
        ),
        strategies.agents,
        st.sampled_from((0.0, 1_000_001.0, 1e11)),
        st.sampled_from((None, 1e-300, 1.0, 1e8)),
    ),
    st.dictionaries(strategies.roles, strategies.settings_of_roles, max_size=2).map(
        lambda roles: Configured(ClusterConfig(version=1, roles=roles))
    ),
)


class Target(Bench):
    """A cell with agents, frameworks, tasks in several states and open offers."""

    def __init__(self) -> None:
        super().__init__(limits=Limits())
        self.agent("a1", "cpus:4;mem:4096;disk:1000;ports:[1-4]", attempt="p1.1")
        self.agent("a2", "cpus:8;mem:8192;gpus:2", attempt="p1.1")
        self.framework("f1", roles=("*", "eng"), capabilities=(REVOCABLE_RESOURCES, GPU_RESOURCES))
        offers = offers_in(self.said)
        tasks = [task(f"t{number}", "cpus:0.5;mem:64") for number in range(1, 5)]
        for offer in offers[:1]:
            self.accept(offer, *tasks)
        self.report(offers[0].agent_id, "t1", TaskState.RUNNING, uuid="u1")
        self.report(offers[0].agent_id, "t2", TaskState.FINISHED, uuid="u2")
        self.framework("f2", roles=("eng/db", "ops"))
        self.wait(1.5)

    def lookup(self, name: str) -> Any:
        kind, _, number = name.partition("/")
        if kind == "attempt":
            return f"p1.{len(self.decisions)}"
        if kind == "number":
            return 1
        known = {
            "session": [each.session for each in self.state.agents.values()],
            "offer": list(self.state.offers),
            "uuid": ["u1", "u2"],
        }[kind]
        return known[int(number) % len(known)] if known else "x"

    def send(self, type_name: str, body: Any) -> None:
        """Receive a body as from the broker."""
        count()
        raw = encoded(resolved(body, self.lookup))
        try:
            message = decode(type_name, raw)
        except InvalidMessage:
            return
        stored = self.size
        note(f"{type_name} {raw[:2_000]!r}")
        self.decide(message)
        assert self.size <= stored + 4 * len(raw) + 20_000, f"{type_name} of {len(raw)} bytes is stored without bound"
        # A reply to a message is far below the bound of a body, or the outbox would be blocked.
        for entry in self.decisions[-1].outbox:
            assert len(entry.body) <= MAX_BODY

    @property
    def size(self) -> int:
        """Bytes in the store."""
        return sum(len(value) for kind in self.stored.values() for value in kind.values())

    def check(self) -> None:
        """A new owner reads what is stored, and finds the state that this owner has."""
        lease = Lease(self.number, self.term + 1, "nonce", "owner", 0, 0.0)
        snapshot = Snapshot(lease, *(dict(self.stored[kind]) for kind in RecordKind), [], False)
        state = Cell(snapshot, self.cells, self.limits, self.now).state
        assert list(state.breaches()) == []
        assert set(state.tasks) == set(self.state.tasks)
        assert set(state.agents) == set(self.state.agents)
        for ident, agent in state.agents.items():
            assert agent.used == self.state.agents[ident].used
            assert agent.reserved_resources == self.state.agents[ident].reserved_resources
        for offer in self.state.offers.values():
            assert offer.resources


def run(steps: list[tuple[str, Any, float]], operators: list[Any]) -> None:
    target = Target()
    for at, (type_name, body, seconds) in enumerate(steps):
        target.send(type_name, body)
        if at < len(operators):
            target.decide(operators[at])
        if seconds:
            target.now = Instant(target.now.wall + seconds, target.now.mono + seconds)
            target.decide()
    target.check()
    target.wait(12.0, beating=False)
    target.check()


def steps(types: list[str], most: int) -> st.SearchStrategy[list[tuple[str, Any, float]]]:
    return st.lists(
        st.sampled_from(types).flatmap(lambda name: st.tuples(st.just(name), bodies(REGISTRY[name], 1), STEPS)),
        min_size=1,
        max_size=most,
    )


@pytest.mark.parametrize("type_name", TYPES)
def test_a_cell_survives_each_message(type_name: str) -> None:
    @fuzz(8)
    @given(steps([type_name], 2))
    def sent(many: list[tuple[str, Any, float]]) -> None:
        run(many, [])

    sent()


@fuzz(40)
@given(steps(TYPES, 8), st.lists(OPERATORS, max_size=3))
def test_a_cell_survives_messages_of_all_kinds(many: list[tuple[str, Any, float]], operators: list[Any]) -> None:
    run(many, operators)
