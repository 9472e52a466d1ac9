"""An agent keeps its invariants whatever comes by its queue of commands, and can always send what it decides."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from broker_mesos.agent.effects import KillProcess, LeaveCommands, Publish
from broker_mesos.core.protocol.addresses import Exchange
from broker_mesos.core.protocol.registry import decode
from broker_mesos.core.protocol.senders import RULES
from broker_mesos.core.protocol.wire import MAX_BODY, REGISTRY
from broker_mesos.errors import InvalidMessage
from broker_mesos.ports.bus import expiration_ms
from tests.agent.support import TERM, TOTAL, Agent
from tests.fuzz.effort import check_line, count, fuzz
from tests.fuzz.values import bodies, encoded, resolved

TYPES = sorted(name for name, rule in RULES.items() if Exchange.COMMANDS in rule.exchanges)
TERMS = st.sampled_from((TERM, TERM, TERM, TERM + 1, TERM - 1, 0, -1, 2**42, 2**63))
DAY = 86_400.0


class Target(Agent):
    """An agent with running and ended tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.register()
        self.numbers = 0
        for task_id in ("t1", "t2", "t3"):
            body = {"task": {"task_id": task_id, "resources": "cpus:0.5;mem:64", "command": {"arguments": ["true"]}}}
            self.numbers += 1
            launch = {"session": "@session/0", "number": self.numbers, "launches": [{**body, "framework_id": "f1"}]}
            self.receive("LAUNCH_TASKS", launch, TERM)
        self.started("t1")
        self.exited("t2")

    def lookup(self, name: str) -> Any:
        kind = name.partition("/")[0]
        if kind == "session":
            return self.state.session
        if kind == "attempt":
            return self.state._attempt
        if kind == "number":
            return self.state.applied + 1
        return next((each.uuid for each in self.state.outcomes.unacknowledged()), "u1") if kind == "uuid" else "o1"

    def receive(self, type_name: str, body: Any, term: int) -> None:
        count()
        raw = encoded(resolved(body, self.lookup))
        note(f"{type_name} {raw[:2_000]!r} under {term}")
        try:
            effects = self.command(decode(type_name, raw), term)
        except InvalidMessage as error:
            check_line(error)
            return
        self.check(effects)

    def check(self, effects: list[Any]) -> None:
        for effect in effects:
            if isinstance(effect, Publish):
                out = effect.outgoing("id")
                assert len(out.body) <= MAX_BODY
                decode(out.type, out.body)
                if out.expiration is not None:
                    assert 0 < expiration_ms(out.expiration) < 10 * DAY * 1_000
            elif isinstance(effect, LeaveCommands):
                assert 0 <= effect.seconds <= DAY
            elif isinstance(effect, KillProcess):
                assert 0 <= effect.grace <= DAY
        assert TOTAL.contains(self.used)
        assert len(set(self.launched)) == len(self.launched)
        due = self.state.next_due()
        assert not math.isnan(due)
        if self.state.session:
            assert due <= self.now + DAY, "an agent that is in a session sends heartbeats"


def run(steps: list[tuple[str, Any, int, float]]) -> None:
    target = Target()
    for type_name, body, term, seconds in steps:
        target.receive(type_name, body, term)
        if seconds:
            target.now += seconds
            target.check(target.due())
    target.check(target.carry(target.state.statuses()))
    target.restart()
    target.check(target.due())


def steps(types: list[str], most: int) -> st.SearchStrategy[list[tuple[str, Any, int, float]]]:
    step = st.sampled_from(types).flatmap(
        lambda name: st.tuples(st.just(name), bodies(REGISTRY[name], 1), TERMS, st.sampled_from((0.0, 0.0, 2.0, 40.0)))
    )
    return st.lists(step, min_size=1, max_size=most)


@pytest.mark.parametrize("type_name", TYPES)
def test_an_agent_survives_each_message(type_name: str) -> None:
    @fuzz(8)
    @given(steps([type_name], 2))
    def sent(many: list[tuple[str, Any, int, float]]) -> None:
        run(many)

    sent()


@fuzz(20)
@given(steps(sorted(REGISTRY), 3))
def test_an_agent_survives_messages_that_are_for_others(many: list[tuple[str, Any, int, float]]) -> None:
    run(many)


@fuzz(40)
@given(steps(TYPES, 8))
def test_an_agent_survives_messages_of_all_kinds(many: list[tuple[str, Any, int, float]]) -> None:
    run(many)
