"""Guarantees and limits in one cell: what is offered, to whom first, and what is kept free."""

from __future__ import annotations

from broker_mesos.core.cell.allocation.round_quota import Quota
from broker_mesos.core.cell.allocation.shares import held_by_role
from broker_mesos.core.cell.inputs import Configured
from broker_mesos.core.model.framework import Demand, Shape
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.events import Offers
from broker_mesos.core.quota.cluster_config import ClusterConfig, RoleSettings
from tests.core.cell.harness import Bench, offers_in, task

SOME = Resources.parse


def role(guarantee: str = "", **limit: float) -> RoleSettings:
    """Limits in units."""
    amounts = {name: round(1000 * amount) for name, amount in limit.items()}
    return RoleSettings(guarantee=SOME(guarantee), limit=amounts, since=1 if limit else 0)


def bench(**roles: RoleSettings) -> Bench:
    config = ClusterConfig(version=1, roles={name.replace("__", "/"): each for name, each in roles.items()})
    return Bench(config=config)


def tasks_of(shape: str, count: int, role: str) -> Demand:
    return Demand(version=1, shapes=(Shape(resources=SOME(shape), count=count, role=role),))


def held(made: Bench, *roles: str) -> Resources:
    return Resources.sum(
        amount
        for framework in made.state.frameworks.values()
        for role, amount in framework.held.items()
        if not roles or role in roles
    )


def test_a_limited_role_is_offered_what_is_left_of_its_limit() -> None:
    made = bench(eng=role(cpus=3))
    made.agent("a1", "cpus:8;mem:8000")
    (offer,) = offers_in(made.framework("f1", roles=("eng",)))
    assert offer.resources == SOME("cpus:3;mem:8000")


def test_nothing_is_offered_to_a_role_whose_limit_is_used_up_though_memory_is_free() -> None:
    made = bench(eng=role(cpus=3))
    made.agent("a1", "cpus:8;mem:8000")
    (offer,) = offers_in(made.framework("f1", roles=("eng",)))
    assert offers_in(made.accept(offer, task("t1", "cpus:3;mem:10"), refuse=0)) == []
    assert offers_in(made.wait(3)) == []


def test_a_limit_of_zero_is_none_at_all_and_other_roles_get_everything() -> None:
    made = bench(eng=role(cpus=0))
    made.agent("a1", "cpus:8;mem:8000")
    assert offers_in(made.framework("f1", roles=("eng",))) == []
    assert offers_in(made.framework("f2", tasks_of("mem:10", 1, "eng"), roles=("eng",)))
    (offer,) = offers_in(made.framework("f3", roles=("ops",)))
    assert offer.resources.get("cpus") == 8000


def test_a_limit_holds_for_all_roles_below_together() -> None:
    made = bench(eng=role(cpus=4), eng__db=role(cpus=3))
    made.agent("a1", "cpus:16;mem:16000")
    made.framework("f1", tasks_of("cpus:1;mem:10", 9, "eng/db"), roles=("eng/db",))
    made.framework("f2", tasks_of("cpus:1;mem:10", 9, "eng/web"), roles=("eng/web",))
    made.framework("f3", tasks_of("cpus:1;mem:10", 9, "eng"), roles=("eng",))
    assert held(made, "eng/db").get("cpus") == 3000
    assert held(made).get("cpus") == 4000


def test_what_a_role_releases_counts_for_its_limit_at_once() -> None:
    made = bench(eng=role(cpus=1))
    made.agent("a1", "cpus:8;mem:8000")
    (offer,) = offers_in(made.framework("f1", tasks_of("cpus:1;mem:10", 1, "eng"), roles=("eng",)))
    assert offers_in(made.framework("f2", tasks_of("cpus:1;mem:10", 1, "eng"), roles=("eng",))) == []
    made.accept(offer)
    made.wait(1.1)
    assert len(made.state.frameworks["f2"].offers) + len(made.state.frameworks["f1"].offers) == 1


def test_a_role_below_its_guarantee_goes_first_whatever_its_share() -> None:
    made = bench(prod=role("cpus:4"))
    made.framework("f1", tasks_of("cpus:1;mem:10", 8, "dev"), roles=("dev",))
    made.framework("f2", tasks_of("cpus:1;mem:10", 8, "prod"), roles=("prod",))
    made.agent("a1", "cpus:4;mem:8000")
    assert held(made, "prod").get("cpus") == 4000
    made.agent("a2", "cpus:4;mem:8000")
    assert held(made, "dev").get("cpus") == 4000  # now by shares: prod has its guarantee, dev has nothing


def test_what_is_guaranteed_to_an_absent_role_is_kept_free() -> None:
    made = bench(prod=role("cpus:6;mem:100"))
    made.agent("a1", "cpus:8;mem:8000")
    (offer,) = offers_in(made.framework("f1", roles=("dev",)))
    assert offer.resources == SOME("cpus:2;mem:7900")
    (offer,) = offers_in(made.framework("f2", roles=("prod",)))
    assert offer.resources == SOME("cpus:6;mem:100")


def test_a_guarantee_inside_another_one_counts_once_and_is_kept_from_the_siblings() -> None:
    made = bench(eng=role("cpus:6"), eng__db=role("cpus:4"))
    made.agent("a1", "cpus:8;mem:8000")
    (offer,) = offers_in(made.framework("f1", roles=("ops",)))
    assert offer.resources.get("cpus") == 2000
    (offer,) = offers_in(made.framework("f2", roles=("eng/web",)))
    assert offer.resources.get("cpus") == 2000
    (offer,) = offers_in(made.framework("f3", roles=("eng/db",)))
    assert offer.resources.get("cpus") == 4000


def test_a_met_guarantee_above_does_not_use_up_the_one_below() -> None:
    made = bench(eng=role("cpus:2"), eng__db=role("cpus:2"))
    made.agent("a1", "cpus:8;mem:8000")
    made.framework("f1", tasks_of("cpus:1;mem:10", 6, "eng/web"), roles=("eng/web",))
    assert held(made, "eng/web").get("cpus") == 6000
    assert offers_in(made.framework("f2", tasks_of("cpus:1;mem:10", 1, "ops"), roles=("ops",))) == []
    assert offers_in(made.framework("f3", tasks_of("cpus:1;mem:10", 1, "eng/db"), roles=("eng/db",)))


def test_a_change_is_heeded_without_anything_else_happening() -> None:
    made = bench(eng=role(cpus=1))
    made.agent("a1", "cpus:8;mem:8000")
    made.framework("f1", tasks_of("cpus:1;mem:10", 8, "eng"), roles=("eng",))
    said = made.decide(Configured(ClusterConfig(version=2, roles={"eng": role(cpus=5)})))
    assert any(isinstance(each, Offers) for _, each in said)
    assert held(made).get("cpus") == 5000
    assert made.decide(Configured(ClusterConfig(version=1))) == []  # an older one, late


def test_a_lowered_limit_takes_nothing_away_and_gives_nothing_until_enough_has_ended() -> None:
    made = bench(eng=role(cpus=4))
    made.agent("a1", "cpus:8;mem:8000")
    (offer,) = offers_in(made.framework("f1", tasks_of("cpus:2;mem:10", 2, "eng"), roles=("eng",)))
    made.accept(offer, task("t1", "cpus:2;mem:10"), task("t2", "cpus:2;mem:10"))
    made.decide(Configured(ClusterConfig(version=2, roles={"eng": role(cpus=1)})))
    assert held(made).get("cpus") == 4000
    assert offers_in(made.framework("f2", tasks_of("cpus:1;mem:10", 1, "eng"), roles=("eng",))) == []


def test_a_question_is_answered_as_if_the_cell_had_what_the_others_leave() -> None:
    config = ClusterConfig(version=1, roles={"eng": role(cpus=4)})
    made = Bench(cells=2, config=config)
    made.state.foreign_held = {("eng", "f9"): SOME("cpus:1")}
    held_of_roles = held_by_role(made.state)
    for hopeful, expected in ((True, "cpus:3"), (False, "")):
        quota = Quota(made.state, held_of_roles, SOME("cpus:16"), hopeful=hopeful)
        assert quota.allows("eng/db", SOME("cpus:8")) == SOME(expected)
