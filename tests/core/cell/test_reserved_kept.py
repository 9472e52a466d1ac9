"""What is reserved outlives repeats, owners, stores and agents."""

from __future__ import annotations

import pytest

from broker_mesos.core.cell.inputs import OperatorOperate
from broker_mesos.core.cell.state.reserved_portions import laid_out
from broker_mesos.core.model.agent import AgentList, AgentTask
from broker_mesos.core.model.reservation import Layer, Reservation, ReservedResources, Volume
from broker_mesos.core.protocol.agent_messages import AgentListed, SetReservations
from broker_mesos.errors import BrokerMesosError
from tests.core.cell.harness import Bench, of
from tests.core.cell.yard import (
    BIG,
    R,
    Yard,
    create,
    destroy,
    only,
    outcomes,
    reserve,
    unreserve,
)


def test_a_repeated_accept_hears_the_same_of_its_operations_and_does_nothing():
    bench = Yard()
    bench.framework("f1", **only("eng"))
    bench.accept_with("f1", [reserve("eng", "cpus:2", "r"), destroy("v1", "d")])
    held = bench.a1.reserved_resources
    said = bench.decide(bench.last)
    assert outcomes(said) == {"r": "OPERATION_FINISHED", "d": "its offer has ended"}
    bench.take_over(term=8)
    said = bench.decide(bench.last)
    assert outcomes(said)["r"] == "OPERATION_FINISHED"
    assert bench.a1.reserved_resources == held


def test_an_operators_repeat_is_carried_out_once():
    bench = Yard()
    for _ in range(2):
        bench.by_hand(reserve("eng", "cpus:2", "same"))
    assert bench.reserved() == {"eng": "cpus:2"}
    assert bench.a1.reserved_resources.version == 1


def test_a_new_owner_knows_what_is_reserved():
    bench = Yard()
    bench.by_hand(reserve("eng", "cpus:2;disk:10"))
    bench.by_hand(create("eng", "v1", 10))
    before = bench.a1.reserved_resources, bench.a1.total, bench.a1.reservations
    bench.take_over(term=8)
    assert (bench.a1.reserved_resources, bench.a1.total, bench.a1.reservations) == before


HELD = ReservedResources(
    version=5,
    reservations=(Reservation(role="eng", resources=R("cpus:2;disk:100")),),
    volumes=(Volume(volume_id="v1", role="eng", size=R("disk:60")),),
)


def test_a_wiped_store_learns_from_the_agent_what_it_holds():
    bench = Bench()
    running = AgentTask(
        task_id="t1", framework_id="f1", role="eng", resources=R("cpus:1;volumes:{v1}"), volumes=("v1",)
    )
    bench.agent("a1", BIG, listing=AgentList(tasks=(running,), reserved_resources=HELD))
    agent = bench.state.agents["a1"]
    assert agent.reserved_resources == HELD
    assert agent.total.sets["volumes"] == {"v1"}
    assert bench.state.tasks["t1"].details.volumes == ("v1",)
    assert "volumes" not in agent.free.sets
    assert of(bench.said, SetReservations) == []
    said = bench.decide(OperatorOperate("a1", reserve("eng", "cpus:1")))
    assert of(said, SetReservations)[0].reserved_resources.version == 6


def test_a_store_that_went_back_in_time_adopts_what_the_agent_remembers():
    bench = Yard()
    bench.by_hand(reserve("ops", "cpus:1"))
    bench.take_over(term=9, recovering=True)
    bench.decide(OperatorOperate("a1", reserve("ops", "cpus:1")))
    assert "cannot be changed now" in str(bench.decisions[-1].refusals[0][1])
    bench.agent("a1", BIG, attempt="2", listing=AgentList(reserved_resources=HELD))
    assert bench.a1.reserved_resources == HELD


def test_an_agent_that_knows_less_is_told_again():
    bench = Yard()
    bench.by_hand(reserve("eng", "cpus:2"))
    said = bench.agent("a1", BIG, attempt="2")
    (held,) = of(said, SetReservations)
    assert (held.number, held.reserved_resources.version) == (1, 1)
    behind = AgentListed(agent_id="a1", session=bench.session("a1"), list=AgentList(applied=0))
    assert of(bench.decide(behind), SetReservations) == []  # it is on its way
    lost = AgentListed(agent_id="a1", session=bench.session("a1"), list=AgentList(applied=1))
    assert [each.number for each in of(bench.decide(lost), SetReservations)] == [2]


def test_an_agent_that_shrinks_keeps_the_earlier_reservations():
    bench = Yard("cpus:8;mem:800;gpus:1")
    bench.by_hand(reserve("eng", "cpus:4;mem:100"))
    bench.by_hand(reserve("ops", "cpus:4;gpus:1"))
    bench.by_hand(reserve("eng/db", "cpus:3", refine="eng"))
    held = bench.a1.reserved_resources
    bench.agent("a1", "cpus:5;mem:800", attempt="2", listing=AgentList(reserved_resources=held))
    assert bench.reserved() == {"eng": "cpus:1;mem:100", "eng/db": "cpus:3", "ops": "cpus:1"}
    bench.agent("a1", "cpus:2;mem:800", attempt="3", listing=AgentList(reserved_resources=held))
    assert bench.reserved() == {"eng": "mem:100", "eng/db": "cpus:2"}
    # It still holds what it has promised, and gives it all when it is large again.
    bench.by_hand(unreserve("ops", "gpus:1"))
    bench.agent(
        "a1", "cpus:8;mem:800;gpus:1", attempt="4", listing=AgentList(reserved_resources=bench.a1.reserved_resources)
    )
    assert bench.reserved() == {"eng": "cpus:1;mem:100", "eng/db": "cpus:3", "ops": "cpus:4"}


def test_the_volumes_of_an_agent_that_shrinks_come_before_its_other_reservations():
    bench = Yard("cpus:8;mem:8192;disk:40")
    for operation in (reserve("ops", "disk:10"), reserve("eng", "disk:20"), create("eng", "v1", 10)):
        bench.by_hand(operation)
    shrink(bench, "cpus:8;mem:8192;disk:10")
    assert bench.reserved() == {"eng": "volumes:{v1}"}
    assert bench.a1.total == R("cpus:8;mem:8192;volumes:{v1}")
    shrink(bench, "cpus:8;mem:8192;disk:25")
    assert bench.reserved() == {"ops": "disk:10", "eng": "disk:5;volumes:{v1}"}
    shrink(bench, "cpus:8;mem:8192;disk:40")
    assert bench.reserved() == {"ops": "disk:10", "eng": "disk:10;volumes:{v1}"}


def test_the_volume_of_a_reservation_that_was_refined_takes_no_disk_of_others_on_an_agent_that_shrinks():
    bench = Yard("cpus:8;mem:8192;disk:40")
    inner = reserve("eng/web", "disk:20", refine="eng")
    for operation in (reserve("eng", "disk:30"), inner, create("eng", "v1", 10)):
        bench.by_hand(operation)
    shrink(bench, "cpus:8;mem:8192;disk:10")
    assert bench.reserved() == {"eng": "volumes:{v1}"}


def test_a_volume_whose_reservation_is_gone_takes_the_disk_of_the_reservation_above():
    volume = Volume(
        volume_id="v1",
        role="eng/web",
        size=R("disk:20"),
        layers=(Layer(role="eng"), Layer(role="eng/web")),
    )
    total, reserved = laid_out(R("disk:20"), (Reservation(role="eng", resources=R("disk:20")),), (volume,))
    assert total == R("volumes:{v1}")
    assert [(each.role, each.resources) for each in reserved] == [("eng/web", R("volumes:{v1}"))]


def shrink(bench: Yard, resources: str) -> None:
    listing = AgentList(reserved_resources=bench.a1.reserved_resources)
    bench.agent("a1", resources, attempt=resources, listing=listing)


def test_holdings_have_a_bound():
    bench = Yard()
    bench.framework("f1", **only("eng"))
    many = {f"k{at}": "v" * 200 for at in range(700)}
    said = bench.accept_with("f1", [reserve("eng", "cpus:1", "r", labels=many)])
    assert "too many reservations" in outcomes(said)["r"]


def test_every_refusal_is_an_error_with_one_line():
    bench = Yard()
    for operation in (reserve("eng", "cpus:99"), unreserve("x", "cpus:1"), destroy("v"), create("e", "v", 1)):
        with pytest.raises(BrokerMesosError) as caught:
            bench.by_hand(operation)
        assert "\n" not in str(caught.value)
