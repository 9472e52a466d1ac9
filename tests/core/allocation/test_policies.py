"""What holds for every policy, and what tells them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_mesos.core.cell.allocation.policies.builtin import BUILT_IN, DEFAULT
from broker_mesos.core.cell.allocation.policies.drf import Drf
from broker_mesos.core.cell.allocation.policies.policy import Claimant, Policy, Shares
from broker_mesos.core.cell.allocation.policies.priority import Priority, priority_of
from broker_mesos.core.cell.allocation.policies.random import Shuffled
from broker_mesos.core.model.resources import Resources
from tests.core.allocation.filling import ROLES, WEIGHTS, Filling, charged, claimants, needs, standings
from tests.examples import examples

TOTAL = Resources.of(cpus=10, mem=10)
FEW = settings(max_examples=examples(50), deadline=None)
Case = tuple[list[Claimant], Shares]


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_policy_is_a_policy(name: str):
    assert isinstance(BUILT_IN[name], Policy) and DEFAULT in BUILT_IN
    assert list(BUILT_IN[name].rank([], Shares(TOTAL, {})).order()) == []


@pytest.mark.parametrize("name", BUILT_IN)
@FEW
@given(standings(), st.data())
def test_every_claimant_is_in_the_order_exactly_once_whatever_was_charged(name: str, case: Case, data: st.DataObject):
    who, shares = case
    ranking = BUILT_IN[name].rank(who, shares)
    assert sorted(ranking.order()) == sorted(who)
    for each in data.draw(st.lists(st.sampled_from(who), max_size=8)) if who else []:
        ranking.charge(each, Resources.scalars_of({"cpus": 300, "disk": 50}))
        assert sorted(ranking.order()) == sorted(who)
        assert list(ranking.order()) == list(ranking.order())


@pytest.mark.parametrize("name", ["drf", "priority"])
@FEW
@given(standings(), st.data())
def test_a_ranking_after_charges_is_what_it_would_be_from_the_start(name: str, case: Case, data: st.DataObject):
    who, shares = case
    ranking = BUILT_IN[name].rank(who, shares)
    amounts = st.dictionaries(st.sampled_from(["cpus", "mem"]), st.integers(1, 3).map(lambda n: n * 100))
    charges = st.lists(st.tuples(st.sampled_from(who), amounts.map(Resources.scalars_of)), max_size=8)
    drawn = data.draw(charges) if who else []
    for each, resources in drawn:
        ranking.charge(each, resources)
    assert list(ranking.order()) == list(BUILT_IN[name].rank(who, charged(shares, drawn)).order())


def test_a_charge_to_an_only_child_changes_the_tie_of_its_parent():
    who = [Claimant("*", "f1", 0), Claimant("*", "f2", 2), Claimant("b/x", "f1", 1), Claimant("b/x", "f2", 6)]
    charges = [(who[0], Resources.of(cpus=0.3)), (who[2], Resources.of(cpus=0.3))]
    ranking = Drf().rank(who, Shares(TOTAL, {}))
    for each, resources in charges:
        ranking.charge(each, resources)
    assert list(ranking.order()) == list(Drf().rank(who, charged(Shares(TOTAL, {}), charges)).order())


# -- strict priority


@FEW
@given(standings(), st.data())
def test_no_lower_role_ever_stands_before_a_higher_one(case: Case, data: st.DataObject):
    who, shares = case
    ranking = Priority().rank(who, shares)
    for each in [None, *(data.draw(st.lists(st.sampled_from(who), max_size=4)) if who else [])]:
        if each is not None:
            ranking.charge(each, Resources.scalars_of({"cpus": 300}))
        order = list(ranking.order())
        for earlier, later in pairwise(order):
            assert not Priority().precedes(later.role, earlier.role, shares.weights)


@FEW
@given(WEIGHTS, st.data())
def test_a_lower_role_gets_a_task_only_when_no_task_of_a_higher_one_fits(
    weights: Mapping[str, float], data: st.DataObject
):
    who = claimants(*(f"{role}:f" for role in data.draw(st.permutations(ROLES))[:4]))
    wants = dict(zip(who, data.draw(st.lists(st.integers(0, 9), min_size=4, max_size=4)), strict=True))
    filling = Filling(Priority(), TOTAL, data.draw(needs(who, TOTAL)), wants, weights)
    free, got = TOTAL, Counter[Claimant]()
    for served in filling.served:
        for other in who:
            if Priority().precedes(other.role, served.role, weights):
                assert got[other] == wants[other] or not free.contains(filling.needs[other])
        got[served] += 1
        free -= filling.needs[served]


def test_a_role_has_the_priority_of_its_nearest_ancestor_that_has_one():
    weights = {"prod": 10.0, "prod/tests": 0.5}
    assert priority_of("prod/db/hot", weights) == priority_of("prod", weights) == 10.0
    assert priority_of("prod/tests/slow", weights) == 0.5
    assert priority_of("dev", weights) == priority_of("*", weights) == 1.0
    assert Priority().precedes("prod/db", "dev", weights) and Priority().precedes("dev", "prod/tests", weights)
    assert not Priority().precedes("prod", "prod/db", weights)


@pytest.mark.parametrize("name", ["drf", "random"])
def test_policies_that_share_let_nobody_precede(name: str):
    assert not BUILT_IN[name].precedes("prod", "dev", {"prod": 1000.0})


def test_equals_in_priority_share_and_what_lower_roles_hold_is_not_held_against_their_siblings():
    first, second = who = claimants("eng/prod:f", "ops/prod:f")
    weights = {"eng/prod": 5.0, "ops/prod": 5.0, "ops": 3.0}
    ranking = Priority().rank(who, Shares(TOTAL, {("eng/batch", "g"): TOTAL}, weights))
    assert list(ranking.order()) == [first, second]
    ranking.charge(first, Resources.of(cpus=1))
    assert list(ranking.order()) == [second, first]


# -- by chance


def firsts(policy: Policy, who: list[Claimant], rounds: int, weights: Mapping[str, float]) -> Counter[str]:
    found: Counter[str] = Counter()
    for number in range(rounds):
        shares = Shares(TOTAL, {}, weights, round=number)
        found[next(iter(policy.rank(who, shares).order())).framework_id] += 1
    return found


@pytest.mark.parametrize("roles", ["*****", "abcde"])
def test_by_chance_everybody_is_first_about_equally_often(roles: str):
    who = claimants(*(f"{role}:f{number}" for number, role in enumerate(roles)))
    found = firsts(Shuffled(), who, 2000, {})
    assert all(340 < found[each.framework_id] < 460 for each in who), found


def test_by_chance_all_orders_come_about_equally_often():
    who = claimants("a:f1", "a:f2", "a:f3")
    ranking = Shuffled().rank(who, Shares(TOTAL, {}))
    found: Counter[tuple[Claimant, ...]] = Counter()
    for _ in range(1200):
        found[tuple(ranking.order())] += 1
        ranking.charge(who[0], Resources.of(cpus=1))
    assert len(found) == 6 and all(150 < count < 250 for count in found.values()), found


def test_by_chance_a_role_is_first_as_often_as_its_weight_says_at_every_level():
    who = claimants("a:own", "a/x:x", "b:b")
    found = firsts(Shuffled(), who, 3000, {"a": 2.0, "a/x": 3.0})
    assert 1900 < found["own"] + found["x"] < 2100 and 420 < found["own"] < 580, found


def test_by_chance_those_after_the_first_come_by_weight_too():
    who = claimants("a:a", "b:b", "c:c")
    found: Counter[str] = Counter()
    for number in range(3000):
        order = Shuffled().rank(who, Shares(TOTAL, {}, {"a": 2.0, "b": 3.0}, round=number)).order()
        found["".join(each.framework_id for each in order)] += 1
    # 2, 3 and 1 lots of 6, then of the rest.
    expected = {"abc": 2 / 6 * 3 / 4, "acb": 2 / 6 / 4, "bac": 3 / 6 * 2 / 3, "bca": 3 / 6 / 3}
    expected |= {"cab": 1 / 6 * 2 / 5, "cba": 1 / 6 * 3 / 5}
    assert all(abs(found[key] - 3000 * part) < 70 for key, part in expected.items()), found


def test_the_same_round_draws_the_same_lots_and_cells_draw_their_own():
    who = claimants(*(f"a:f{number}" for number in range(20)))
    elsewhere = [each._replace(tie=(each.tie + 1) % 20) for each in who]
    orders = [
        [each.framework_id for each in Shuffled().rank(some, Shares(TOTAL, {}, round=number)).order()]
        for some, number in ((who, 1), (who, 1), (who, 2), (elsewhere, 1))
    ]
    assert orders[0] == orders[1] and orders[0] != orders[2] and orders[0] != orders[3]


# -- what counts in shares


def test_excluded_resources_do_not_count():
    who = claimants("a:hungry", "b:gpus")
    total = Resources.of(cpus=10, gpus=2)
    held = {("a", "hungry"): Resources.of(cpus=1), ("b", "gpus"): Resources.of(gpus=2)}
    for exclude, first in ((frozenset[str](), "hungry"), (frozenset({"gpus"}), "gpus")):
        ranking = Drf().rank(who, Shares(total, held, exclude=exclude))
        assert next(iter(ranking.order())).framework_id == first
        ranking.charge(who[1], Resources.of(gpus=2))
        assert next(iter(ranking.order())).framework_id == first
