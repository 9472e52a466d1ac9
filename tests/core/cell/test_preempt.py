"""Preemption: whose tasks are killed for whom, and that it is no more than needed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from broker_mesos.core.cell.allocation.policies.builtin import BUILT_IN
from broker_mesos.core.model.framework import Demand, Shape
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol.addresses import cell_of
from broker_mesos.core.protocol.agent_messages import KillTasks
from broker_mesos.core.protocol.events import Rescind
from broker_mesos.core.quota.cluster_config import ClusterConfig, RoleSettings
from tests.core.cell.harness import Bench, of, offers_in, task, updates_in
from tests.examples import examples

GUARANTEED = {"prod": RoleSettings(guarantee=Resources.parse("cpus:4"), preempts=True)}
HIGH = {"prod": RoleSettings(weight=10, preempts=True), "dev": RoleSettings(weight=1)}


def cluster(roles: dict[str, RoleSettings], policy: str = "priority", **options) -> Bench:
    return Bench(config=ClusterConfig(version=1, policy=policy, roles=roles), **options)


def want(count: int, need: str = "cpus:1;mem:10", role: str = "prod", version: int = 1, **more) -> Demand:
    shape = Shape(resources=Resources.parse(need), count=count, role=role, **more)
    return Demand(version=version, shapes=(shape,))


def fill(bench: Bench, framework_id: str, role: str, need: str = "cpus:1;mem:10") -> None:
    """A framework fills all that is free with tasks of one size."""
    one = Resources.parse(need)
    demand = want(1_000, need, role)
    for offer in offers_in(bench.framework(framework_id, demand, roles=(role,))):
        count = offer.resources.get("cpus") // one.get("cpus")
        bench.accept(offer, *(task(f"{framework_id}-{offer.agent_id}-{n}", need) for n in range(count)))
    bench.framework(framework_id, Demand(version=2, shapes=()), roles=(role,))


def killed(said) -> list[str]:
    return [task_id for each in of(said, KillTasks) for task_id in each.task_ids]


def end(bench: Bench, task_ids: list[str]) -> list:
    said = []
    for ident in task_ids:
        each = bench.state.tasks[ident]
        said += bench.report(each.agent_id, ident, TaskState.KILLED, framework_id=each.framework_id)
    return said


def test_nothing_is_preempted_unless_a_role_may():
    for roles in (
        {},
        {"prod": RoleSettings(weight=10)},
        {"prod": RoleSettings(guarantee=Resources.parse("cpus:2"))},
    ):
        bench = cluster(roles)
        bench.agent("a1", "cpus:4;mem:4096")
        fill(bench, "low", "dev")
        bench.framework("high", want(2), roles=("prod",))
        assert killed(bench.wait(5, agents=True)) == []


def test_a_higher_role_takes_as_much_as_it_wants_and_gets_it():
    bench = cluster(HIGH)
    bench.agent("a1", "cpus:4;mem:4096")
    fill(bench, "low", "dev")
    bench.framework("high", want(2), roles=("prod",))
    victims = killed(bench.wait(3, agents=True))
    assert len(victims) == len(set(victims)) == 2
    said = end(bench, victims)
    assert [offer.framework_id for offer in offers_in(said)] == ["high", "high"]
    assert killed(bench.wait(3, agents=True)) == []


def test_a_role_takes_from_a_lower_role_of_the_same_framework_and_never_from_itself():
    bench = cluster(HIGH)
    bench.agent("a1", "cpus:4;mem:4096")
    fill(bench, "both", "dev")
    bench.framework("both", want(2, version=3), roles=("dev", "prod"))
    victims = killed(bench.wait(3, agents=True))
    assert len(victims) == 2
    offers = offers_in(end(bench, victims))
    assert [offer.role for offer in offers] == ["prod", "prod"]
    for offer in offers:
        bench.accept(offer, task(f"prod-{offer.offer_id}", "cpus:1;mem:10"))
    bench.framework("both", want(9, version=4), roles=("dev", "prod"))
    assert {bench.state.tasks[each].role for each in killed(bench.wait(3, agents=True))} == {"dev"}


def test_the_status_of_a_preempted_task_says_why():
    bench = cluster(HIGH)
    bench.agent("a1", "cpus:1;mem:4096")
    fill(bench, "low", "dev")
    bench.framework("high", want(1), roles=("prod",))
    (status,) = updates_in(end(bench, killed(bench.wait(2, agents=True))))
    assert (status.state, status.reason) == (TaskState.KILLED, Reason.CONTAINER_PREEMPTED)
    assert "preempted by a role" in status.message


def test_a_role_below_its_guarantee_takes_what_is_missing_of_it_and_no_more():
    bench = cluster(GUARANTEED, "drf")
    bench.agent("a1", "cpus:8;mem:4096")
    bench.state.config = ClusterConfig()  # it is guaranteed only once others have all
    fill(bench, "low", "dev")
    bench.state.configure(ClusterConfig(version=2, policy="drf", roles=GUARANTEED))
    bench.framework("high", want(6), roles=("prod",))
    victims = killed(bench.wait(3, agents=True))
    assert len(victims) == 4
    assert len(offers_in(end(bench, victims))) >= 1
    assert killed(bench.wait(3, agents=True)) == []


def test_nobody_is_taken_below_a_guarantee_of_its_own():
    roles = {**HIGH, "dev": RoleSettings(weight=1, guarantee=Resources.parse("cpus:3"))}
    bench = cluster(roles)
    bench.agent("a1", "cpus:4;mem:4096")
    fill(bench, "low", "dev")
    bench.framework("high", want(4), roles=("prod",))
    assert len(killed(bench.wait(3, agents=True))) == 1


def test_the_lowest_role_goes_first_and_then_the_youngest():
    roles = {**HIGH, "mid": RoleSettings(weight=5)}
    bench = cluster(roles)
    bench.agent("a1", "cpus:1;mem:4096")
    fill(bench, "middle", "mid")
    for n in (2, 3):
        bench.wait(1, agents=True)
        bench.agent(f"a{n}", "cpus:1;mem:4096")
        fill(bench, f"low{n}", "dev")
    bench.framework("high", want(1), roles=("prod",))
    assert killed(bench.wait(2, agents=True)) == ["low3-a3-0"]
    bench.framework("high", want(3, version=3), roles=("prod",))
    assert killed(bench.wait(2, agents=True)) == ["low2-a2-0", "middle-a1-0"]


def test_tasks_are_killed_only_where_that_makes_the_task_fit():
    bench = cluster(HIGH)
    bench.agent("small", "cpus:2;mem:4096")
    bench.agent("large", "cpus:4;mem:4096")
    fill(bench, "low", "dev")
    bench.framework("high", want(1, "cpus:3;mem:10"), roles=("prod",))
    victims = killed(bench.wait(3, agents=True))
    assert len(victims) == 3 and all("large" in each for each in victims)
    bench.framework("high", want(1, "cpus:9;mem:10", version=3), roles=("prod",))
    assert killed(bench.wait(3, agents=True)) == []


def test_an_offer_to_others_is_taken_back_before_a_task_is_killed():
    bench = cluster(HIGH)
    bench.agent("a1", "cpus:1;mem:4096")
    fill(bench, "low", "dev")
    bench.agent("a2", "cpus:1;mem:4096")
    bench.framework("other", want(1, role="dev"), roles=("dev",))
    bench.framework("high", want(1), roles=("prod",))
    said = bench.wait(2, agents=True)
    assert killed(said) == [] and len(of(said, Rescind)) == 1
    assert [offer.framework_id for offer in offers_in(said)] == ["high"]


def test_room_for_a_gang_is_made_whole_or_not_at_all():
    bench = cluster(HIGH)
    bench.agent("a1", "cpus:2;mem:4096")
    fill(bench, "low", "dev")
    bench.agent("a2", "cpus:2;mem:4096")
    fill(bench, "equal", "prod")
    bench.framework("high", want(3, gang="g"), roles=("prod",))
    assert killed(bench.wait(3, agents=True)) == []
    bench.framework("high", want(2, gang="g", version=3), roles=("prod",))
    victims = killed(bench.wait(3, agents=True))
    assert len(victims) == 2
    end(bench, victims[:1])
    assert [offer.gang for offer in offers_in(end(bench, victims[1:]))] == ["g"]


def test_who_has_not_said_what_for_is_made_room_on_one_agent_at_a_time():
    bench = cluster(HIGH)
    for n in range(3):
        bench.agent(f"a{n}", "cpus:2;mem:4096")
    fill(bench, "low", "dev", "cpus:1;mem:2048")
    bench.framework("high", roles=("prod",))
    victims = killed(bench.wait(3, agents=True))
    assert len({each.split("-")[1] for each in victims}) == 1
    end(bench, victims)
    assert killed(bench.wait(3, agents=True)) == []  # it has an offer to answer


def test_of_several_cells_one_preempts_at_a_time():
    benches = [cluster(HIGH, cells=2, cell=cell) for cell in range(2)]
    acted = set()
    for cell, bench in enumerate(benches):
        bench.agent(next(f"a{n}" for n in range(99) if cell_of(f"a{n}", 2) == cell), "cpus:4;mem:4096")
        fill(bench, "low", "dev")
        bench.framework("high", want(2), roles=("prod",))
        if killed(bench.wait(3, agents=True)):
            acted.add(cell)
    assert len(acted) == 1


ROLES = ("r0", "r1", "r2")


@settings(deadline=None, max_examples=examples(60))
@given(
    weights=st.tuples(*[st.integers(1, 3)] * 3),
    preempts=st.tuples(*[st.booleans()] * 3),
    guarantees=st.tuples(*[st.integers(0, 2)] * 3),
    agents=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    fillers=st.permutations(ROLES),
    claimant=st.sampled_from(ROLES),
    wanted=st.integers(1, 6),
    size=st.integers(1, 2),
    policy=st.sampled_from(["drf", "priority"]),
)
def test_kills_serve_who_may_preempt_and_never_hit_who_comes_before(
    weights, preempts, guarantees, agents, fillers, claimant, wanted, size, policy
):
    bench = cluster({}, policy)
    for n, cpus in enumerate(agents):
        bench.agent(f"a{n}", f"cpus:{cpus};mem:4096")
        fill(bench, f"f{n}", fillers[n % 3])
    roles = {
        role: RoleSettings(weight=weights[n], preempts=preempts[n], guarantee=Resources.of(cpus=guarantees[n]))
        for n, role in enumerate(ROLES)
    }
    bench.state.configure(ClusterConfig(version=2, policy=policy, roles=roles))
    need = f"cpus:{size};mem:10"
    bench.framework("new", want(wanted, need, claimant), roles=(claimant,))
    victims = killed(bench.wait(3, agents=True))
    if victims:
        assert roles[claimant].preempts
    order = BUILT_IN[policy]
    for ident in victims:
        assert not order.precedes(bench.state.tasks[ident].role, claimant, bench.state.weights)
        assert bench.state.tasks[ident].framework_id != "new"
    assert len(victims) <= wanted * size
    said = end(bench, victims)
    if victims:
        room = sum(offer.resources.get("cpus") for offer in offers_in(said) if offer.framework_id == "new")
        already = sum(offer.resources.get("cpus") for offer in bench.state.frameworks["new"].offers.values())
        assert max(room, already) >= size * 1000
    assert killed(bench.wait(2, agents=True)) == []
