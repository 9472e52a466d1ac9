"""The gang token: gangs that find no room at one moment gather it, one after the other."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_mesos.core.api.explain import GetPlacement
from broker_mesos.core.cell.allocation.gang_token import _could_fit
from broker_mesos.core.cell.inputs import TokenSet
from broker_mesos.core.cell.views.explain import placement
from broker_mesos.core.model.framework import Demand, Shape
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.addresses import cell_of
from broker_mesos.core.protocol.framework_messages import FrameworkHeartbeat
from broker_mesos.core.protocol.limits import Limits
from broker_mesos.core.quota.gang_token import TokenRecord, TokenRequest, WaitingGang, turn
from tests.core.cell.harness import Bench, offers_in, task
from tests.core.cell.test_gangs import gang
from tests.examples import examples

LIMITS = Limits(gang_patience=2.0, gang_hold=10.0)
A, B, C = (WaitingGang((f"f{n}", "g"), 1) for n in range(3))


def ask(*wishes: WaitingGang, done=None) -> TokenRequest:
    return TokenRequest(wishes, done)


@pytest.mark.parametrize("seconds", [3600.0, -3600.0])
def test_calendars_that_differ_neither_end_nor_keep_a_token(seconds):
    bench = Bench(cells=2, limits=Limits(gang_patience=2.0, gang_hold=30.0))
    bench.agent(agent_of(0, 2, 0), "cpus:2;mem:2000")
    bench.state.foreign_total = Resources.of(cpus=8, mem=8000)
    bench.framework("f1", gang("g", ("cpus:1;mem:1000", 4)))
    held = turn(TokenRecord(), ask(A)).holder
    bench.decide(TokenSet(held))
    bench.now = bench.now._replace(wall=bench.now.wall + seconds)
    bench.wait(28, agents=True)
    assert bench.state.token == held
    bench.wait(4, agents=True)
    assert bench.state.token is None
    assert bench.decisions[-1].token is None or bench.decisions[-1].token.done == held
    assert any(each.token is not None and each.token.done == held for each in bench.decisions)


# -- one cell -----------------------------------------------------------------------------------------------


def busy(bench: Bench, count: int) -> None:
    """One-cpu agents, all used by tasks of f1, which would take any that becomes free."""
    for n in range(count):
        bench.agent(f"a{n}", "cpus:1;mem:1000")
    for n, offer in enumerate(offers_in(bench.framework("f1"))):
        bench.accept(offer, task(f"small{n}", "cpus:1;mem:1000"))


def replace(bench: Bench, n: int, name: str) -> list[Offer]:
    """A small task ends; if f1 is offered its room, another one takes it. Returns the offers to others."""
    agent_id = bench.state.tasks[f"small{n}"].agent_id
    offers = offers_in(bench.report(agent_id, f"small{n}", TaskState.FINISHED))
    for offer in offers:
        if offer.framework_id == "f1":
            bench.accept(offer, task(name, "cpus:1;mem:1000"))
    return [offer for offer in offers if offer.framework_id != "f1"]


def test_small_tasks_do_not_starve_a_gang():
    bench = Bench(limits=LIMITS)
    busy(bench, 3)
    bench.framework("f2", gang("g", ("cpus:1;mem:1000", 2)))
    assert replace(bench, 0, "small3") == []  # at first, everybody takes turns
    bench.wait(4, agents=True)
    assert bench.state.token.key == ("f2", "g")
    assert replace(bench, 1, "small4") == []
    assert "small4" not in bench.state.tasks
    assert len(replace(bench, 2, "small5")) == 2


def test_what_a_gang_does_not_need_is_not_kept_for_it():
    bench = Bench(limits=LIMITS)
    busy(bench, 4)
    bench.framework("f2", gang("g", ("cpus:1;mem:1000", 2)))
    bench.agent("large", "cpus:1;mem:100")
    bench.wait(4, agents=True)
    offered = {offer.agent.ident for offer in bench.state.offers.values()}
    assert offered == {"large"}  # too little memory for the gang


def test_a_gang_gives_the_token_back_when_it_has_begun():
    bench = Bench(limits=LIMITS)
    busy(bench, 2)
    bench.framework("f2", gang("g", ("cpus:1;mem:1000", 2)))
    bench.wait(4, agents=True)
    replace(bench, 0, "")
    for offer in replace(bench, 1, ""):
        bench.accept(offer, task(f"member-{offer.agent_id}", "cpus:1;mem:1000"))
    bench.wait(1.1, agents=True)
    assert bench.state.token is None


def test_a_gang_whose_framework_wants_it_no_more_gives_the_token_back():
    bench = Bench(limits=LIMITS)
    busy(bench, 2)
    bench.framework("f2", gang("g", ("cpus:1;mem:1000", 2)))
    bench.wait(4, agents=True)
    replace(bench, 0, "")
    bench.framework("f2", Demand(version=2, wanted=False))
    said = bench.wait(1.1, agents=True)
    assert bench.state.token is None
    assert [offer.framework_id for offer in offers_in(said)] == ["f1"]


def test_a_gang_that_could_never_fit_keeps_nothing_from_others():
    bench = Bench(limits=LIMITS)
    busy(bench, 2)
    bench.framework("f2", gang("g", ("cpus:1;mem:1000", 3)))
    bench.framework("f3", gang("g", ("cpus:2;mem:10", 1)))
    bench.wait(5, agents=True)
    assert bench.state.token is None


def test_two_gangs_take_turns_with_the_token():
    bench = Bench(limits=LIMITS)
    busy(bench, 2)
    bench.framework("f2", gang("g", ("cpus:1;mem:1000", 2)))
    bench.framework("f3", gang("g", ("cpus:1;mem:1000", 2)))
    turns = []
    for _ in range(35):
        bench.wait(1, agents=True)
        if bench.state.token is not None and bench.state.token.framework_id not in turns[-1:]:
            turns.append(bench.state.token.framework_id)
    assert turns in (["f2", "f3", "f2", "f3"], ["f2", "f3", "f2", "f3", "f2"])


def test_a_new_owner_lets_a_gang_gather_again():
    bench = Bench(limits=LIMITS)
    busy(bench, 2)
    demand = gang("g", ("cpus:1;mem:1000", 2))
    bench.framework("f2", demand)
    bench.wait(4, agents=True)
    replace(bench, 0, "")
    assert not bench.state.offers
    small = Demand(version=1, shapes=())
    bench.take_over(term=8)
    beats = [
        FrameworkHeartbeat(framework_id=ident, framework=bench.state.frameworks[ident].info, demand=wanted)
        for ident, wanted in (("f1", small), ("f2", demand))
    ]
    bench.decide(*beats)
    bench.wait(4, agents=True)
    assert bench.state.token.key == ("f2", "g")
    assert len(replace(bench, 1, "")) == 2


# -- several cells ------------------------------------------------------------------------------------------


FAST = Limits(gang_patience=1.0, gang_hold=4.0, consumer_check=10.0, offer_timeout=3.0)


def agent_of(cell: int, cells: int, n: int) -> str:
    """The id of an agent of this cell."""
    names = (f"a{n}-{m}" for m in count())
    return next(name for name in names if cell_of(name, cells) == cell)


class Cluster:
    """Cells with one token, and frameworks that put the offers of their gangs together."""

    def __init__(self, cells: int, agents: list[int], sizes: list[int], *, small: bool = False) -> None:
        self.cells = [Bench(cells=cells, cell=n, limits=FAST) for n in range(cells)]
        self.record = TokenRecord()
        for n, cpus in enumerate(agents):
            self.cells[n % cells].agent(agent_of(n % cells, cells, n), f"cpus:{cpus};mem:{1000 * cpus}")
        total = sum(agents)
        for bench in self.cells:
            mine = bench.state.total
            bench.state.foreign_total = Resources.of(cpus=total, mem=1000 * total).clipped_minus(mine)
        self.sizes = dict(enumerate(sizes))
        self.small = small
        """Whether a framework takes all it is offered for tasks of one cpu, each of which runs for a step."""
        self.smalls = 0
        self.held: dict[str, dict[str, tuple[Bench, Offer]]] = {}
        self.running: dict[str, int] = {}
        """Steps that a gang runs yet."""
        self.ran: list[str] = []

    def demand(self, n: int) -> Demand:
        shapes = () if f"f{n}" in self.ran else gang("g", ("cpus:1;mem:1000", self.sizes[n])).shapes
        return Demand(version=1 + (f"f{n}" in self.ran), shapes=shapes)

    def take_over(self, cell: int) -> None:
        bench = self.cells[cell]
        foreign = bench.state.foreign_total
        bench.take_over(term=bench.term + 1)
        bench.state.foreign_total = foreign

    def run_small(self, bench: Bench) -> None:
        if "small" not in bench.state.frameworks:
            bench.framework("small")
        ending = [
            each for each in bench.state.tasks.values() if each.framework_id == "small" and not each.state.terminal
        ]
        for offer in offers_in(bench.said):
            if offer.framework_id == "small" and offer.offer_id in bench.state.offers:
                need = [f"small{self.smalls + n}" for n in range(offer.resources.get("cpus") // 1000)]
                self.smalls += len(need)
                bench.accept(offer, *(task(ident, "cpus:1;mem:1000") for ident in need), refuse=0)
        for each in ending:
            bench.report(each.agent_id, each.task_id, TaskState.FINISHED, framework_id="small")

    def step(self) -> None:
        for bench in self.cells:
            if self.small:
                self.run_small(bench)
            info = {ident: each.info for ident, each in bench.state.frameworks.items()}
            beats = []
            for n in self.sizes:
                if f"f{n}" not in info:
                    bench.framework(f"f{n}", self.demand(n))
                    info[f"f{n}"] = bench.state.frameworks[f"f{n}"].info
                beats.append(FrameworkHeartbeat(framework_id=f"f{n}", framework=info[f"f{n}"], demand=self.demand(n)))
            bench.decide(*beats)
            bench.wait(1.0, agents=True)
            for wanted in [each.token for each in bench.decisions if each.token is not None]:
                self.record = turn(self.record, wanted)
                bench.decide(TokenSet(self.record.holder))
            bench.decisions.clear()
            if self.small:
                self.run_small(bench)
            for offer in offers_in(bench.said):
                self.held.setdefault(offer.framework_id, {})[offer.offer_id] = (bench, offer)
            bench.said.clear()
        self.collect()

    def collect(self) -> None:
        for ident in list(self.running):
            self.running[ident] -= 1
            if not self.running[ident]:
                self.finish(ident)
        for n, size in self.sizes.items():
            ident = f"f{n}"
            held = self.held.get(ident, {})
            for offer_id, (bench, offer) in list(held.items()):
                if offer_id not in bench.state.offers or not offer.gang:
                    del held[offer_id]
            room = sum(offer.resources.get("cpus") // 1000 for _, offer in held.values())
            if ident not in self.ran and room >= size:
                self.launch(ident, size)

    def launch(self, ident: str, size: int) -> None:
        left = size
        self.ran.append(ident)
        for bench, offer in self.held.pop(ident).values():
            most = min(left, offer.resources.get("cpus") // 1000)
            tasks = [task(f"{ident}.{left - n}", "cpus:1;mem:1000") for n in range(most)]
            bench.accept(offer, *tasks, refuse=0)
            left -= most
        self.running[ident] = 2

    def finish(self, ident: str) -> None:
        del self.running[ident]
        for bench in self.cells:
            for each in list(bench.state.tasks.values()):
                if each.framework_id == ident and not each.state.terminal:
                    bench.report(each.agent_id, each.task_id, TaskState.FINISHED, framework_id=ident)

    def living(self, ident: str) -> int:
        return sum(
            each.framework_id == ident and not each.state.terminal
            for bench in self.cells
            for each in bench.state.tasks.values()
        )


def run(cluster: Cluster, steps: int) -> None:
    for _ in range(steps):
        cluster.step()
        for ident in cluster.running:  # whole or nothing
            assert cluster.living(ident) == cluster.sizes[int(ident[1:])]
        if len(cluster.ran) == len(cluster.sizes):
            return


def test_a_gang_that_fits_no_single_cell_is_put_together_from_several():
    cluster = Cluster(2, [2, 2], [4])
    run(cluster, 30)
    assert cluster.ran == ["f0"]


def test_two_gangs_that_together_exceed_the_cluster_run_one_after_the_other():
    cluster = Cluster(2, [2, 2], [3, 4])
    run(cluster, 60)
    assert sorted(cluster.ran) == ["f0", "f1"]


def test_the_offers_of_a_gang_that_gathers_outlive_the_offer_timeout_and_end_with_the_token():
    limits = Limits(gang_patience=2.0, gang_hold=30.0)
    bench = Bench(cells=2, limits=limits)
    bench.agent(agent_of(0, 2, 0), "cpus:2;mem:2000")
    bench.state.foreign_total = Resources.of(cpus=8, mem=8000)
    bench.framework("f1", gang("g", ("cpus:1;mem:1000", 4)))
    bench.wait(4, agents=True)
    wanted = next(each.token for each in reversed(bench.decisions) if each.token)
    record = turn(TokenRecord(), wanted)
    said = bench.decide(TokenSet(record.holder))
    assert [offer.gang for offer in offers_in(said)] == ["g"]
    bench.wait(28, agents=True)
    assert len(bench.state.offers) == 1
    bench.wait(3, agents=True)
    assert not bench.state.offers
    assert bench.state.frameworks["f1"].unanswered_rounds == 0


@settings(deadline=None, max_examples=examples(25))
@given(
    cells=st.integers(1, 3),
    agents=st.lists(st.integers(1, 3), min_size=1, max_size=5),
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=3),
)
def test_every_gang_that_fits_the_cluster_runs_whole_whatever_the_others_want(cells, agents, sizes):
    sizes = [min(size, sum(agents)) for size in sizes]
    cluster = Cluster(cells, agents, sizes)
    run(cluster, 12 * len(sizes) + 12)
    assert len(cluster.ran) == len(sizes)


@settings(deadline=None, max_examples=examples(25))
@given(
    cells=st.integers(1, 3),
    agents=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=2),
    changes=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 2)), max_size=3),
)
def test_neither_small_tasks_nor_changes_of_owners_starve_a_gang(cells, agents, sizes, changes):
    sizes = [min(size, sum(agents)) for size in sizes]
    cluster = Cluster(cells, agents, sizes, small=True)
    for step in range(20):
        for at, cell in changes:
            if at == step:
                cluster.take_over(cell % cells)
        run(cluster, 1)
    run(cluster, 30 * len(sizes))
    assert len(cluster.ran) == len(sizes)


def test_shapes_of_several_sizes_are_gathered():
    bench = Bench(limits=LIMITS)
    bench.agent("a0", "cpus:3;mem:3000")
    bench.agent("a1", "cpus:1;mem:1000")
    for offer in offers_in(bench.framework("f1")):
        bench.accept(offer, task(f"on-{offer.agent_id}", str(offer.resources)))
    shapes = (
        Shape(resources=Resources.parse("cpus:1;mem:10"), gang="g"),
        Shape(resources=Resources.parse("cpus:3;mem:10"), gang="g"),
    )
    bench.framework("f2", Demand(version=1, shapes=shapes))
    bench.wait(4, agents=True)
    said = bench.report("a1", "on-a1", TaskState.FINISHED)
    assert all("cpus" not in offer.resources.names() for offer in offers_in(said))
    said = bench.report("a0", "on-a0", TaskState.FINISHED)
    assert {offer.framework_id for offer in offers_in(said) if offer.gang} == {"f2"}
    assert sum(offer.resources.get("cpus") for offer in offers_in(said) if offer.gang) == 4_000


def test_a_gang_past_all_bounds_never_fits():
    bench = Bench(limits=LIMITS)
    bench.agent("a0", "cpus:3;mem:3000")
    bench.framework("f1")
    endless = Shape(resources=Resources.parse("mem:1000000000"), count=10_000_000, gang="g")
    framework = bench.state.frameworks["f1"]
    framework.demand = Demand(version=1, shapes=(endless,))
    assert not _could_fit(bench.state, framework, "g")


def test_explain_names_the_gang_that_has_the_token():
    bench = Bench(limits=LIMITS)
    busy(bench, 3)
    bench.framework("f2", gang("g", ("cpus:1;mem:1000", 2)))
    bench.wait(4, agents=True)
    bench.report(bench.state.tasks["small0"].agent_id, "small0", TaskState.FINISHED)
    shape = Shape(resources=Resources.parse("cpus:1;mem:1000"), count=2, gang="h")
    bench.framework("f3", Demand(version=1, shapes=(shape,)))
    found = placement(bench.state, bench.cell.policy, GetPlacement(framework_id="f3", shape=shape), bench.now)
    assert any("gang g of framework f2 has the gang token" in why.message for why in found.agents), found.agents


# -- tasks that need more of an agent than becomes free at a time -------------------------------------------


def crowded(bench: Bench, agents: int) -> None:
    """Agents of two CPUs that are full of one-cpu tasks of f1, which would take any CPU that becomes free."""
    for n in range(agents):
        bench.agent(f"a{n}", "cpus:2;mem:2000")
    names = count()
    for offer in offers_in(bench.framework("f1")):
        bench.accept(offer, *(task(f"small{next(names)}", "cpus:1;mem:1000") for _ in range(2)))


def end_one(bench: Bench, name: str, heir: str) -> list[Offer]:
    """A small task ends; f1 puts another one where it is offered room. Returns the offers to others."""
    offers = offers_in(bench.report(bench.state.tasks[name].agent_id, name, TaskState.FINISHED))
    for offer in offers:
        if offer.framework_id == "f1":
            bench.accept(offer, task(heir, "cpus:1;mem:1000"))
    return [offer for offer in offers if offer.framework_id != "f1"]


@pytest.mark.parametrize("wanted", [1, 2])
def test_what_becomes_free_in_parts_is_kept_for_a_task_that_needs_a_whole_agent(wanted):
    bench = Bench(limits=LIMITS)
    crowded(bench, wanted)
    bench.framework("f2", gang("g", ("cpus:2;mem:2000", wanted)))
    assert end_one(bench, "small0", "before") == []
    assert "before" in bench.state.tasks  # it has not waited for long
    bench.wait(4, agents=True)
    waiting = [name for name in bench.state.tasks if name.startswith(("small", "before"))]
    given = [offer for name in waiting for offer in end_one(bench, name, f"after-{name}")]
    assert not [name for name in bench.state.tasks if name.startswith("after")]
    assert [offer.resources.get("cpus") for offer in given] == [2000] * wanted


def test_agents_that_a_gang_does_not_need_stay_for_the_others():
    bench = Bench(limits=LIMITS)
    crowded(bench, 2)
    bench.framework("f2", gang("g", ("cpus:2;mem:2000", 1)))
    bench.wait(4, agents=True)
    (kept,) = bench.state.token_agents
    for name in [each.task_id for each in bench.state.tasks.values() if each.agent_id != kept]:
        assert end_one(bench, name, f"after-{name}") == []
        assert f"after-{name}" in bench.state.tasks


def test_agents_are_kept_for_a_gang_no_longer_than_its_turn():
    bench = Bench(limits=LIMITS)
    crowded(bench, 1)
    bench.framework("f2", gang("g", ("cpus:2;mem:2000", 1)))
    bench.wait(4, agents=True)
    assert end_one(bench, "small0", "after") == []
    assert "after" not in bench.state.tasks
    bench.framework("f2", gang("h", ("cpus:1;mem:1000", 9), version=2))  # it has other wishes now
    bench.wait(2, agents=True)
    assert bench.state.token_agents == {}
    assert [offer.framework.ident for offer in bench.state.offers.values()] == ["f1"]


def test_explain_tells_for_whom_an_agent_is_kept():
    bench = Bench(limits=LIMITS)
    crowded(bench, 1)
    shape = Shape(resources=Resources.parse("cpus:2;mem:2000"), gang="g")
    bench.framework("f2", Demand(version=1, shapes=(shape,)))
    bench.wait(4, agents=True)
    found = placement(bench.state, bench.cell.policy, GetPlacement(framework_id="f2", shape=shape), bench.now)
    assert found.agents[0].kept.startswith("what becomes free of it is kept for g of framework f2, ")
