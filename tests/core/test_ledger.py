"""The ledger of limits: what is held of a limit in all cells together never exceeds it (I-quota)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_mesos.core.cell.inputs import Configured, EscrowSet
from broker_mesos.core.model.framework import Demand, Shape
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.framework_messages import Decline, FrameworkHeartbeat
from broker_mesos.core.quota.cluster_config import ClusterConfig, RoleSettings
from broker_mesos.core.quota.ledger import Entry, EscrowRequest, ledger_key, settle
from tests.core.cell.harness import Bench, task
from tests.examples import examples

LIMIT = {"cpus": 8000}


def ask(held: int, wanted: int, since: int = 1) -> EscrowRequest:
    return EscrowRequest("eng", {"cpus": held}, {"cpus": wanted}, LIMIT, since, 1)


def stored(*amounts: int | None, term: int = 1, since: int = 1) -> dict[str, str]:
    """Fields of cells 0, 1, …; None: it has none."""
    return {
        str(cell): Entry(term=term, number=1, since=since, amounts={"cpus": amount}).encode().decode()
        for cell, amount in enumerate(amounts)
        if amount is not None
    }


def granted(ask: EscrowRequest, fields: dict[str, str], cells: int = 2, term: int = 1) -> int | None:
    found = settle(ask, 0, cells, term, fields)
    return None if found is None else found.entry.amounts["cpus"]


def test_a_raise_is_granted_as_far_as_the_others_leave_room() -> None:
    assert granted(ask(1000, 4000), stored(1000, 3000)) == 4000
    assert granted(ask(1000, 6000), stored(1000, 3000)) == 5000
    assert granted(ask(1000, 6000), stored(1000, 9000)) == 1000


def test_nothing_is_raised_until_all_cells_have_said_what_they_hold_under_this_limit() -> None:
    assert granted(ask(0, 4000), stored(0, None)) == 0
    assert granted(ask(0, 4000, since=5), stored(0, 0, since=4)) == 0
    assert granted(ask(0, 4000), stored(None, 0)) == 4000


def test_what_is_held_is_a_fact_even_beyond_the_limit() -> None:
    assert granted(ask(9000, 9000), stored(0, 4000)) == 9000


def test_a_refused_raise_and_a_lowered_limit_take_nothing_away_that_was_granted() -> None:
    assert granted(ask(1000, 6000), stored(3000, 8000)) == 3000


def test_to_lower_always_works_even_where_nobody_else_has_said_anything() -> None:
    assert granted(ask(1000, 1000), stored(3000, None)) == 1000


def test_an_earlier_owner_is_refused_and_a_later_one_keeps_nothing_of_it() -> None:
    assert granted(ask(0, 4000), stored(1000, 0, term=5), term=4) is None
    assert granted(ask(500, 500), stored(3000, 8000, term=5), term=6) == 500


def test_what_cannot_be_read_is_as_if_nothing_had_been_said() -> None:
    assert granted(ask(0, 4000), {"0": "}", "1": "[]"}) == 0


def test_asking_the_same_again_writes_the_same() -> None:
    fields = stored(0, 0)
    once = settle(ask(0, 4000), 0, 2, 1, fields)
    assert once is not None
    again = settle(ask(0, 4000), 0, 2, 1, {**fields, "0": once.entry.encode().decode()})
    assert again is not None and again.entry == once.entry


@pytest.mark.parametrize("role", ["*", "eng/db", "eng%2Fdb", "eng.db"])
def test_keys_of_roles_differ_and_mean_nothing_to_redis(role: str) -> None:
    others = {ledger_key(each) for each in ("*", "eng/db", "eng%2Fdb", "eng.db") if each != role}
    assert ledger_key(role) not in others
    assert not set("*/{}[]?") & set(ledger_key(role))


# -- several cells --------------------------------------------------------------------------------------


class Cluster:
    """Cells with a ledger between them, whose calls take their time, and may be applied though their cell
    has another owner by then."""

    def __init__(self, seed: int, cells: int, limit: dict[str, int], roles: tuple[str, ...]) -> None:
        self.rng = random.Random(seed)
        self.limit = limit
        self.config = ClusterConfig(version=1, roles={"eng": RoleSettings(limit=limit, since=1)})
        self.fields: dict[str, str] = {}
        self.underway: list[tuple[int, int, EscrowRequest]] = []
        self.calls = 0
        self.launched = 0
        self.version = 0
        self.cells = [Bench(cells=cells, cell=number, config=self.config) for number in range(cells)]
        for bench in self.cells:
            ident = next(f"a{n}" for n in range(1000) if self._is_of(f"a{n}", bench))
            bench.agent(ident, "cpus:8;mem:8000")
            for number, role in enumerate(roles):
                bench.framework(f"f{number}", self.demand(role, 100), roles=(role,))
            self.collect(bench)

    @staticmethod
    def _is_of(ident: str, bench: Bench) -> bool:
        from broker_mesos.core.protocol.addresses import cell_of

        return cell_of(ident, bench.cells) == bench.number

    def demand(self, role: str, count: int, cpus: int = 1) -> Demand:
        self.version += 1
        shape = Shape(resources=Resources.parse(f"cpus:{cpus};mem:100"), count=count, role=role)
        return Demand(version=self.version, shapes=(shape,))

    def want(self, bench: Bench, count: int, cpus: int = 1) -> None:
        for each in bench.state.frameworks.values():
            demand = self.demand(each.info.roles[0], count, cpus)
            bench.decide(FrameworkHeartbeat(framework_id=each.ident, framework=each.info, demand=demand))

    def collect(self, bench: Bench) -> None:
        for decision in bench.decisions:
            self.underway += [(bench.number, bench.term, each) for each in decision.escrow.values()]
        bench.decisions.clear()

    def held(self) -> dict[str, int]:
        whole = Resources.sum(
            amount
            for bench in self.cells
            for framework in bench.state.frameworks.values()
            for amount in framework.held.values()
        )
        return {name: whole.get(name) for name in self.limit}

    def check(self) -> None:
        assert all(self.held()[name] <= most for name, most in self.limit.items()), self.held()

    def answer_one(self) -> None:
        """The ledger handles one call, and its cell hears of it, if it is still the one that asked."""
        number, term, asked = self.underway.pop(self.rng.randrange(len(self.underway)))
        self.calls += 1
        found = settle(asked, number, len(self.cells), term, self.fields)
        if found is None:
            return
        self.fields[str(number)] = found.entry.encode().decode()
        bench = self.cells[number]
        if bench.term == term and self.rng.random() > 0.1:
            bench.decide(EscrowSet(asked.role, found.entry.amounts, asked.since))
            self.collect(bench)
        elif bench.term == term:
            self.underway.append((number, term, asked))  # the answer was lost: it asks again

    def step(self) -> None:
        bench = self.rng.choice(self.cells)
        match self.rng.randrange(10):
            case 0 | 1 | 2:
                if self.underway:
                    self.answer_one()
            case 3:
                bench.wait(1.0)
            case 4 | 5:
                self.answer_an_offer(bench)
            case 6 | 7:
                self.end_a_task(bench)
            case 8:
                self.want(bench, self.rng.choice((0, 1, 100)))
            case 9:
                if self.rng.random() < 0.2:
                    bench.take_over(bench.term + 1)
        self.collect(bench)
        self.check()

    def answer_an_offer(self, bench: Bench) -> None:
        offers = list(bench.state.offers.values())
        if not offers:
            return
        offer = self.rng.choice(offers)
        if self.rng.random() < 0.3:
            ident = offer.framework.ident
            bench.decide(Decline(framework_id=ident, offer_ids=(offer.offer_id,), refuse_seconds=0.0))
            return
        self.launched += 1
        number = self.rng.randint(1, offer.resources.get("cpus") // 1000)
        tasks = [task(f"t{bench.number}-{self.launched}-{each}", "cpus:1;mem:100") for each in range(number)]
        wire = bench_offer(offer)
        bench.accept(wire, *tasks, refuse=0.0)

    def end_a_task(self, bench: Bench) -> None:
        running = [each for each in bench.state.tasks.values() if not each.state.terminal]
        if running:
            one = self.rng.choice(running)
            bench.report(one.agent_id, one.task_id, TaskState.FINISHED, framework_id=one.framework_id)


class bench_offer:
    """What ``Bench.accept`` looks at of an offer."""

    def __init__(self, offer: object) -> None:
        self.offer_id = offer.offer_id  # type: ignore[attr-defined]
        self.framework_id = offer.framework.ident  # type: ignore[attr-defined]


@settings(max_examples=examples(25), deadline=None)
@given(seed=st.integers(0, 2**32), cells=st.integers(2, 4), cpus=st.integers(0, 12))
def test_the_limit_holds_whatever_is_late_lost_or_taken_over(seed: int, cells: int, cpus: int) -> None:
    cluster = Cluster(seed, cells, {"cpus": 1000 * cpus, "mem": 5_000_000}, ("eng", "eng/db"))
    for _ in range(150):
        cluster.step()


@settings(max_examples=examples(15), deadline=None)
@given(seed=st.integers(0, 2**32), cells=st.integers(2, 4))
def test_a_role_below_its_limit_is_offered_more_within_a_few_rounds(seed: int, cells: int) -> None:
    cluster = Cluster(seed, cells, {"cpus": 5000}, ("eng",))
    for _ in range(60):
        cluster.step()
    for bench in cluster.cells:
        cluster.want(bench, 100)
    for _ in range(4):
        for bench in cluster.cells:
            bench.wait(1.0)
            cluster.collect(bench)
        while cluster.underway:
            cluster.answer_one()
        cluster.check()
    assert cluster.held() == {"cpus": 5000}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("cells", [2, 3, 5])
def test_cells_with_a_part_each_that_none_can_use_do_not_keep_it_from_each_other(cells: int, seed: int) -> None:
    cluster = Cluster(seed, cells, {"cpus": 1000 * cells}, ("eng",))
    for bench in cluster.cells:
        cluster.want(bench, 1)

    def rounds(seconds: int) -> None:
        for _ in range(seconds):
            for bench in cluster.cells:
                bench.wait(1.0)
                cluster.collect(bench)
            while cluster.underway:
                cluster.answer_one()
            cluster.check()

    rounds(3)
    for bench in cluster.cells:
        offers = list(bench.state.offers.values())
        bench.accept(bench_offer(offers[0]), task(f"t{bench.number}", "cpus:1;mem:100"), refuse=0.0)
        cluster.want(bench, 100, cpus=2)
    rounds(1)
    for bench in cluster.cells:
        cluster.end_a_task(bench)
    assert cluster.held() == {"cpus": 0}
    rounds(4 * cells)
    assert cluster.held()["cpus"] >= 2000


def test_a_cluster_at_its_limit_asks_the_ledger_nothing_more() -> None:
    cluster = Cluster(1, 3, {"cpus": 5000}, ("eng",))
    for second in range(8):
        if second == 5:
            cluster.calls = 0
        for bench in cluster.cells:
            for offer in list(bench.state.offers.values()):
                number = offer.resources.get("cpus") // 1000
                tasks = [
                    task(f"t{bench.number}-{second}-{offer.offer_id}-{n}", "cpus:1;mem:100") for n in range(number)
                ]
                bench.accept(bench_offer(offer), *tasks)
            bench.wait(1.0)
            sums: dict[tuple[str, str], Resources] = {}
            for other in cluster.cells:
                if other is not bench:
                    for ident, framework in other.state.frameworks.items():
                        for role, amount in framework.held.items():
                            sums[role, ident] = sums.get((role, ident), Resources()) + amount
            bench.state.foreign_held = sums
            cluster.collect(bench)
        while cluster.underway:
            cluster.answer_one()
    assert cluster.held() == {"cpus": 5000}
    assert cluster.calls == 0


def test_an_answer_about_a_limit_that_was_changed_meanwhile_is_not_taken() -> None:
    bench = Bench(cells=2, config=ClusterConfig(version=1, roles={"eng": RoleSettings(limit=LIMIT, since=1)}))
    (asked,) = [each for decision in bench.decisions for each in decision.escrow.values()]
    wider = RoleSettings(limit={**LIMIT, "mem": 1000}, since=2)
    bench.decide(Configured(ClusterConfig(version=2, roles={"eng": wider})))
    bench.decide(EscrowSet("eng", {"cpus": 8000}, asked.since))
    assert "eng" not in bench.state.escrow
    bench.wait(1.0)
    assert bench.state.escrow_requests["eng"].since == 2
