"""Readers that follow the agents of a cell know, whatever happens between their requests, what there is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_mesos.core.api.agent_rows import Row, columns, parse_filter, rows_of, sort_key
from broker_mesos.core.api.agent_table import CellAgents
from broker_mesos.core.api.maintenance import DeactivateAgents
from broker_mesos.core.cell.inputs import OperatorMaintain, OperatorMarkGone
from broker_mesos.core.cell.views import agent_index
from broker_mesos.core.cell.views.agent_index import AgentIndex, row
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.errors import InvalidInput
from tests.core.cell.harness import Bench, offers_in, task


class Reader:
    """Follows the agents of a cell, at most ``limit`` changes at a time."""

    def __init__(self, limit: int = 1_000) -> None:
        self.limit = limit
        self.known: dict[str, Row] = {}
        self.place: tuple[int, int] | None = None
        self.resets = 0

    def read(self, made: Bench, index: AgentIndex) -> int:
        """Read until there is nothing more; returns the number of changes."""
        index.compare(made.state.agents.values())
        index.compare_ids()
        term, number = self.place or (made.term, 0)
        if not index.knows(term, number):
            self.known.clear()
            self.resets += 1
            number = 0
        changes = 0
        while True:
            page = [each for each, _ in zip(index.after(number), range(self.limit), strict=False)]
            for number, ident, agent in page:  # noqa: B007
                if agent is None:
                    self.known.pop(ident, None)
                else:
                    self.known[ident] = row(made.state, agent, made.now)
            changes += len(page)
            self.place = (made.term, number)
            if len(page) < self.limit:
                return changes


def shown(made: Bench) -> dict[str, Row]:
    return {ident: row(made.state, agent, made.now) for ident, agent in made.state.agents.items()}


def without_ages(rows: dict[str, Row]) -> dict[str, Row]:
    return {ident: each._replace(heartbeat_age=None) for ident, each in rows.items()}


def test_a_reader_gets_everything_once_and_then_only_what_has_changed() -> None:
    made = Bench()
    for number in range(5):
        made.agent(f"a{number}", "cpus:4;mem:4096")
    index, reader = AgentIndex(made.state), Reader(limit=2)
    assert reader.read(made, index) == 5 and reader.known == shown(made)
    assert reader.read(made, index) == 0
    offers = offers_in(made.framework("f1"))
    assert reader.read(made, index) == 5, "all of them are offered"
    (offer,) = [each for each in offers if each.agent_id == "a3"]
    made.accept(offer, task("t1", "cpus:1;mem:64"), refuse=1000.0)
    assert reader.read(made, index) == 1
    assert reader.known["a3"].used == {"cpus": 1000, "mem": 64_000} and reader.known["a3"].tasks == 1
    made.wait(2.0, agents=True)
    assert reader.read(made, index) == 0, "a heartbeat alone is no change"
    made.decide(OperatorMaintain(DeactivateAgents(agent_ids=("a1",))))
    assert reader.read(made, index) == 1
    assert without_ages(reader.known) == without_ages(shown(made))


def test_the_end_of_a_task_is_a_change_of_its_agent() -> None:
    made = Bench()
    made.agent("a1", "cpus:4;mem:4096")
    (offer,) = offers_in(made.framework("f1"))
    made.accept(offer, task("t1", "cpus:1;mem:64"), task("t2", "cpus:1;mem:64"))
    index, reader = AgentIndex(made.state), Reader()
    reader.read(made, index)
    made.report("a1", "t1", TaskState.RUNNING)
    made.report("a1", "t1", TaskState.FINISHED)
    reader.read(made, index)
    assert reader.known["a1"].tasks == 1


def test_a_task_that_takes_over_the_resources_of_another_is_a_change() -> None:
    # Found by the simulation (profile views, seed 4).
    made = Bench()
    made.agent("a1", "cpus:4;mem:4096")
    (offer,) = offers_in(made.framework("f1"))
    queued = [task(name, "cpus:4;mem:64").model_copy(update={"line": "q"}) for name in ("t1", "t2")]
    made.accept(offer, *queued)
    index, reader = AgentIndex(made.state), Reader()
    reader.read(made, index)
    assert reader.known["a1"].tasks == 2
    made.report("a1", "t1", TaskState.RUNNING)
    made.report("a1", "t1", TaskState.FINISHED)
    reader.read(made, index)
    assert reader.known["a1"].tasks == 1 and reader.known["a1"].used["cpus"] == 4_000


def test_a_reader_of_another_term_begins_anew() -> None:
    made = Bench()
    for number in range(5):
        made.agent(f"a{number}", "cpus:4;mem:4096")
    reader = Reader()
    reader.read(made, AgentIndex(made.state))
    reader.known["phantom"] = reader.known["a1"]
    made.take_over(term=made.term + 1)
    # The new owner has fewer changes than the old one: a number alone would seem to be known.
    reader.read(made, AgentIndex(made.state))
    assert reader.resets == 1 and without_ages(reader.known) == without_ages(shown(made))


def test_a_number_that_no_change_has_yet_is_not_known() -> None:
    made = Bench()
    made.agent("a1", "cpus:4")
    index = AgentIndex(made.state)
    index.compare(made.state.agents.values())
    assert index.knows(made.term, 1) and not index.knows(made.term, 2) and not index.knows(made.term - 1, 1)


def test_a_reader_that_missed_more_removals_than_are_remembered_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_index, "MAX_REMOVED", 2)
    made = Bench()
    for number in range(6):
        made.agent(f"a{number}", "cpus:4")
    index, late = AgentIndex(made.state), Reader()
    late.read(made, index)
    for number in range(4):
        agent = made.state.agents[f"a{number}"]
        made.state.remove_agent(agent)
    late.read(made, index)
    assert late.resets == 1 and set(late.known) == {"a4", "a5"}


class World:
    """A cell to which anything happens."""

    def __init__(self) -> None:
        self.made = Bench()
        self.made.framework("f1")
        self.tasks = 0

    def step(self, what: int, which: int) -> None:
        made, ident = self.made, f"a{which}"
        agent = made.state.agents.get(ident)
        if what == 0:
            made.agent(ident, f"cpus:{4 + which};mem:4096", attempt=str(self.tasks))
        elif agent is None:
            return
        elif what == 1:
            for offer in list(made.state.offers.values()):
                if offer.agent is agent:
                    self.tasks += 1
                    wire = next(
                        each
                        for _, m in made.said
                        for each in getattr(m, "offers", ())
                        if each.offer_id == offer.offer_id
                    )
                    made.accept(wire, task(f"t{self.tasks}", "cpus:1;mem:64"))
                    return
        elif what == 2:
            for each in list(agent.tasks.values()):
                if not each.state.terminal:
                    made.report(ident, each.task_id, TaskState.FINISHED)
                    return
        elif what == 3:
            made.decide(OperatorMaintain(DeactivateAgents(agent_ids=(ident,))))
        elif what == 4:
            made.decide(OperatorMarkGone(ident))
        elif what == 5:
            made.wait(30.0)
        elif not agent.tasks and not agent.offers:
            made.state.remove_agent(agent)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 4), st.booleans()), max_size=30), st.integers(1, 3))
def test_whatever_happens_a_reader_ends_with_what_there_is(steps: list[tuple[int, int, bool]], limit: int) -> None:
    world, reader = World(), Reader(limit)
    index = AgentIndex(world.made.state)
    for what, which, reads in steps:
        if what == 7:
            world.made.take_over(term=world.made.term + 1)
            index = AgentIndex(world.made.state)
        else:
            world.step(what, which)
        if reads:
            reader.read(world.made, index)
    reader.read(world.made, index)
    assert without_ages(reader.known) == without_ages(shown(world.made))


# -- rows -----------------------------------------------------------------------------------------------

amounts = st.dictionaries(st.sampled_from(["cpus", "mem", "gpus", "x"]), st.integers(0, 10**9), max_size=3)
rows = st.builds(
    Row,
    agent_id=st.text("ab", min_size=1, max_size=3),
    host=st.text("abc", min_size=1, max_size=3),
    cell=st.just(3),
    state=st.integers(0, 5),
    tasks=st.integers(0, 100),
    total=amounts,
    used=amounts.map(lambda each: {name: some for name, some in each.items() if some}),
    offered=amounts.map(lambda each: {name: some for name, some in each.items() if some}),
    attributes=st.dictionaries(st.text("xy", min_size=1, max_size=2), st.text("12", max_size=2), max_size=2),
    heartbeat_age=st.one_of(st.none(), st.integers(0, 100).map(float)),
)


@settings(deadline=None)
@given(st.lists(rows, max_size=8))
def test_rows_come_back_from_their_columns_and_from_json(given_rows: list[Row]) -> None:
    table = CellAgents(cell=3, term=1, **columns(given_rows))
    assert rows_of(table, 3) == given_rows
    assert rows_of(CellAgents.model_validate_json(table.model_dump_json()), 3) == given_rows


def test_a_table_with_columns_of_different_lengths_is_refused() -> None:
    with pytest.raises(InvalidInput, match="columns of different lengths"):
        rows_of(CellAgents(cell=1, term=1, ids=["a"]), 1)


ONE = Row("node-7", "host-9", 2, 0, 3, {"cpus": 4000}, {"cpus": 1000}, {"cpus": 1000}, {"rack": "r7"}, 1.5)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("NODE", True),
        ("host-9", True),
        ("node-8", False),
        ("rack:r7 state=ready", True),
        ("rack:r7 state!=ready", False),
        ("rack:r8", False),
        ("zone:", False),
        ("cell=2", True),
        ("cell!=2", False),
    ],
)
def test_a_filter_holds_if_all_of_its_words_do(text: str, holds: bool) -> None:
    assert parse_filter(text)(ONE) is holds


@pytest.mark.parametrize("text", ["state=lost", "cell=x", "a=b", "cell=٣"])
def test_a_condition_that_there_is_not_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InvalidInput, match="write state=STATE with one of ready") as refused:
        parse_filter(text)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("sort", ["", "cpu", "-host", "--cpus"])
def test_an_order_that_there_is_not_is_refused(sort: str) -> None:
    with pytest.raises(InvalidInput, match="sort"):
        sort_key(sort)


def test_the_share_of_an_agent_is_that_of_its_scarcest_resource() -> None:
    assert ONE.share == 128 and ONE._replace(total={}).share == 0
    assert ONE._replace(total={"cpus": 1000}).share == 255, "an agent that shrank is full"
