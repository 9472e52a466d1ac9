"""Dominant resource fairness: the paper's example, and its properties as far as they hold for whole tasks."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_mesos.core.cell.allocation.policies.drf import Drf
from broker_mesos.core.cell.allocation.policies.policy import Claimant, Shares
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.roles import lineage
from tests.core.allocation.filling import ROLES, WEIGHTS, Filling, claimants, needs, runnable
from tests.examples import examples

FEW = settings(max_examples=examples(60), deadline=None)
MACHINE = Resources.of(cpus=90, mem=64, disk=128)
ROUNDING = Fraction(1, 10**9)
"""Weighted shares are floats."""


@pytest.mark.parametrize(("role_a", "role_b"), [("*", "*"), ("a", "b"), ("eng/a", "eng/b"), ("eng", "eng/b")])
def test_example_of_the_paper_comes_out_task_by_task(role_a: str, role_b: str):
    b, a = who = claimants(f"{role_b}:B", f"{role_a}:A")
    need = dict(zip(who, (Resources.of(cpus=3, mem=1), Resources.of(cpus=1, mem=4)), strict=True))
    filling = Filling(Drf(), Resources.of(cpus=9, mem=18), need)
    assert filling.served == [b, a, a, b, a]
    assert filling.share(a) == filling.share(b) == Fraction(2, 3)
    assert filling.free == Resources.of(mem=4)


@st.composite
def fillings(draw: st.DrawFn, weighted: bool = False) -> Filling:
    who = claimants("a:f", "b:f", "c:f", "*:f")[: draw(st.integers(2, 4))]
    wants = draw(st.dictionaries(st.sampled_from(who), st.integers(0, 20)))
    weights = draw(WEIGHTS) if weighted else {}
    return Filling(Drf(), MACHINE, draw(needs(who, MACHINE)), wants, weights)


@FEW
@given(fillings(weighted=True))
def test_pareto_efficient_nobody_gets_a_task_more_without_another_getting_one_less(filling: Filling):
    """A config_store with more for one and no less for all others would have to fit the rest."""
    for who, need in filling.needs.items():
        assert filling.content(who) or not filling.free.contains(need)


@FEW
@given(fillings(weighted=True))
def test_sharing_incentive_everybody_gets_the_share_of_its_weight_less_the_rounding_of_tasks(
    filling: Filling,
):
    """Up to the moment when one is refused, each other is at most one task ahead of it. So one that wants
    more has at least its part by weight of what is left when a task of everybody is set aside. (Divisible,
    tasks are nothing, and that is the part of a static partition.)"""
    weights = {who: Fraction(filling.weights.get(who.role, 1.0)) for who in filling.needs}
    set_aside = sum(filling.size(who) for who in filling.needs)
    for who, weight in weights.items():
        part = weight / sum(weights.values())
        assert filling.content(who) or filling.share(who) >= part * (1 - set_aside) - ROUNDING


@FEW
@given(fillings())
def test_envy_free_nobody_could_run_more_on_what_another_has_less_one_task(filling: Filling):
    for who, need in filling.needs.items():
        for other in filling.needs:
            envied = runnable(filling.bundle(other, less=1), need)
            assert filling.content(who) or envied <= filling.tasks(who)


STEP = Fraction(1, 50)
LARGE = Resources.of(cpus=1000, mem=1000)


def step(shape: tuple[int, int]) -> Resources:
    """An amount of this shape (in twentieths, the larger one 20) whose dominant share is one step."""
    amounts = (part * 1_000_000 * STEP / 20 for part in shape)
    return Resources.scalars_of(dict(zip(("cpus", "mem"), map(int, amounts), strict=True)))


SHAPES = st.tuples(st.integers(1, 20), st.booleans()).map(lambda s: (s[0], 20) if s[1] else (20, s[0]))


@FEW
@given(st.lists(SHAPES, min_size=2, max_size=4), SHAPES)
def test_strategy_proof_a_lie_about_what_is_needed_gains_less_than_three_steps(
    shapes: list[tuple[int, int]], lie: tuple[int, int]
):
    """Everybody takes equal small steps, until the first in order is refused. Steps that go to nothing make
    the divisible model, where a lie gains nothing; the first one lies."""
    who = claimants(*(f"*:f{number}" for number in range(len(shapes))))
    need = {each: step(shape) for each, shape in zip(who, shapes, strict=True)}
    honest = Filling(Drf(), LARGE, need, until_refused=True)
    lying = Filling(Drf(), LARGE, need | {who[0]: step(lie)}, until_refused=True)
    bundle = lying.bundle(who[0])
    useful = min(Fraction(bundle[name], amount) for name, amount in need[who[0]].scalars.items()) * STEP
    assert useful < honest.share(who[0]) + 3 * STEP


# -- the tree of roles


def order(who: list[Claimant], held: dict[str, float], weights: dict[str, float] | None = None) -> list[str]:
    """``held``: cpus of 100 by ``role:framework``."""
    of = {key.rpartition(":")[::2]: Resources.of(cpus=amount) for key, amount in held.items()}
    shares = Shares(Resources.of(cpus=100), of, weights or {})
    return [each.framework_id for each in Drf().rank(who, shares).order()]


def test_what_child_roles_hold_counts_in_their_parent():
    who = claimants("a/x:ax", "a/y:ay", "b:b")
    assert order(who, {}) == ["ax", "ay", "b"]
    assert order(who, {"a/x:ax": 10, "a/y:ay": 9, "b:b": 15}) == ["b", "ay", "ax"]
    assert order(who, {"a/x:ax": 10, "a/y:ay": 9, "b:b": 15}, {"a": 2.0}) == ["ay", "ax", "b"]
    assert order(who, {"a/x:ax": 10, "a/y:ay": 9, "b:b": 25}, {"a/x": 2.0}) == ["ax", "ay", "b"]


def test_what_a_role_holds_counts_also_through_frameworks_that_want_nothing():
    who = claimants("a:a", "b:b")
    assert order(who, {"b:b": 1}) == ["a", "b"]
    assert order(who, {"a:idle": 2, "b:b": 1}) == ["b", "a"]
    assert order(who, {"a/deep/down:idle": 2, "b:b": 1}) == ["b", "a"]


def test_frameworks_directly_in_a_role_compete_with_its_child_roles_as_one():
    who = claimants("a:own1", "a:own2", "a/x:x")
    assert order(who, {"a:own1": 3, "a:own2": 4, "a/x:x": 5}) == ["x", "own1", "own2"]
    assert order(who, {"a:own1": 3, "a:own2": 4, "a/x:x": 8}) == ["own1", "own2", "x"]
    assert order(who, {"a:own1": 3, "a:own2": 4, "a/x:x": 8}, {"a": 9.0, "a/x": 2.0}) == ["x", "own1", "own2"]


def test_a_namesake_at_another_place_of_the_tree_is_another_role():
    who = claimants("x:top", "a/x:below")
    assert order(who, {"x:top": 5}, {"x": 100.0}) == ["below", "top"]


@FEW
@given(WEIGHTS, st.sets(st.sampled_from(ROLES), min_size=2), st.integers(1, 120))
def test_at_every_level_siblings_are_at_most_a_task_apart_by_weight(
    weights: dict[str, float], roles: set[str], tasks: int
):
    who = claimants(*(f"{role}:{name}" for role in sorted(roles) for name in ("f1", "f2")))
    need = dict.fromkeys(who, Resources.of(cpus=1))
    filling = Filling(Drf(), Resources.of(cpus=tasks), need, weights=weights)
    assert len(filling.served) == tasks
    siblings: dict[str, dict[str, float]] = {}
    held: dict[str, int] = {}
    inner = {name for role in roles for name in lineage(role)[1:]}
    for each in who:
        own = [each.role + "/."] if each.role in inner else []
        for name in [*own, *lineage(each.role)]:
            held[name] = held.get(name, 0) + filling.tasks(each)
            siblings.setdefault(name.rpartition("/")[0], {})[name] = weights.get(name, 1.0)
    for nodes in siblings.values():
        for one, weight in nodes.items():
            for other, other_weight in nodes.items():
                assert (held[one] - 1) / weight <= held[other] / other_weight + 1e-9
