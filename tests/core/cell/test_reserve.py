"""Operations of frameworks and operators, one by one; volumes of tasks; what agents remember of both."""

from __future__ import annotations

import pytest

from broker_mesos.core.cell.inputs import OperatorOperate
from broker_mesos.core.model.agent import AgentInfo
from broker_mesos.core.model.framework import Demand, Shape
from broker_mesos.core.model.reservation import Operation, Reservation
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.agent_messages import LaunchTasks, RegisterAgent, SetReservations
from broker_mesos.core.protocol.events import Rescind
from broker_mesos.core.protocol.framework_messages import Accept
from broker_mesos.errors import Conflict, InvalidInput, NotFound
from tests.core.cell.harness import Bench, of, offers_in, task, updates_in
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
    with_volume,
)


def test_reserved_resources_are_offered_to_the_role_alone():
    bench = Yard()
    bench.framework("f1", **only("eng"))
    said = bench.accept_with("f1", [reserve("eng", "cpus:6;mem:6000", "op1")])
    assert outcomes(said) == {"op1": "OPERATION_FINISHED"}
    (held,) = of(said, SetReservations)
    assert (held.number, held.reserved_resources.version) == (1, 1)
    (offer,) = offers_in(said)
    assert offer.framework_id == "f1"
    assert offer.resources == R(BIG)
    assert [(each.role, each.resources) for each in offer.reservations] == [("eng", R("cpus:6;mem:6000"))]
    bench.decide(Accept(framework_id="f1", offer_ids=(offer.offer_id,), refuse_seconds=1000))
    (offer,) = offers_in(bench.framework("f2", **only("ops")))
    assert offer.resources == R("cpus:2;mem:2192;disk:1000")
    assert offer.reservations == ()


def test_a_role_below_uses_what_is_reserved_for_the_role_above():
    bench = Yard("cpus:4;mem:4000")
    bench.by_hand(reserve("eng", "cpus:4;mem:4000"))
    assert offers_in(bench.framework("f1", **only("ops"))) == []
    assert offers_in(bench.framework("f2", **only("*"))) == []
    (offer,) = offers_in(bench.framework("f3", **only("eng/db")))
    assert offer.resources == R("cpus:4;mem:4000")


def test_tasks_of_an_accept_use_what_it_has_just_reserved_and_made():
    bench = Yard()
    bench.framework("f1", **only("eng"))
    said = bench.accept_with(
        "f1",
        [reserve("eng", "disk:500", "r"), create("eng", "v1", 300, "c")],
        with_volume("t1", "cpus:1;mem:10", "v1"),
        refuse=1000.0,
    )
    assert outcomes(said) == {"r": "OPERATION_FINISHED", "c": "OPERATION_FINISHED"}
    kinds = [type(each) for _, each in said if isinstance(each, SetReservations | LaunchTasks)]
    assert kinds == [SetReservations, LaunchTasks]
    (launch,) = of(said, LaunchTasks)[0].launches
    assert launch.task.resources == R("cpus:1;mem:10;volumes:{v1}")
    assert of(said, LaunchTasks)[0].number == 2
    assert bench.a1.total == R("cpus:8;mem:8192;disk:700;volumes:{v1}")
    assert bench.state.tasks["t1"].details.volumes == ("v1",)


def test_a_volume_is_offered_to_one_at_a_time_and_again_when_its_task_has_ended():
    bench = Yard()
    bench.framework("f1", **only("eng"))
    bench.accept_with(
        "f1",
        [reserve("eng", "disk:500"), create("eng", "v1", 500)],
        with_volume("t1", "cpus:1;mem:10", "v1"),
    )
    (offer,) = bench.state.offers.values()
    assert "volumes" not in offer.resources.sets
    said = bench.accept_with("f1", [], with_volume("t2", "cpus:1;mem:10", "v1"))
    (error,) = updates_in(said)
    assert error.state is TaskState.ERROR
    assert "volumes:{v1}" in error.message
    bench.report("a1", "t1", TaskState.FINISHED)
    bench.wait(1.1)
    assert bench.offered("f1").sets["volumes"] == {"v1"}
    bench.accept_with("f1", [], with_volume("t3", "cpus:1;mem:10", "v1"))
    assert bench.state.tasks["t3"].state is TaskState.STAGING


def test_an_offer_names_its_volumes():
    bench = Yard()
    bench.by_hand(reserve("eng", "disk:500"))
    bench.by_hand(create("eng", "v1", 100))
    bench.by_hand(create("eng", "v2", 100, shared=True))
    (offer,) = offers_in(bench.framework("f1", **only("ops")))
    assert offer.volumes == ()
    assert offer.resources == R("cpus:8;mem:8192;disk:500")
    bench.decide(Accept(framework_id="f1", offer_ids=(offer.offer_id,), refuse_seconds=1000))
    (offer,) = offers_in(bench.framework("f2", **only("eng/db")))
    assert [each.volume_id for each in offer.volumes] == ["v1", "v2"]
    assert offer.resources == R("cpus:8;mem:8192;disk:800;volumes:{v1}")
    (reservation,) = offer.reservations
    assert reservation.resources == R("disk:300;volumes:{v1}")


def test_a_shared_volume_is_used_by_several_tasks_and_destroyed_after_the_last():
    bench = Yard()
    bench.framework("f1", **only("eng"))
    said = bench.accept_with(
        "f1",
        [reserve("eng", "disk:100"), create("eng", "v1", 100, shared=True)],
        with_volume("t1", "cpus:1;mem:10", "v1"),
        with_volume("t2", "cpus:1;mem:10", "v1"),
    )
    assert [each.task.task_id for each in of(said, LaunchTasks)[0].launches] == ["t1", "t2"]
    assert bench.a1.used == R("cpus:2;mem:20")
    bench.report("a1", "t1", TaskState.FINISHED)
    with pytest.raises(Conflict, match="task t2 uses volume v1"):
        bench.by_hand(destroy("v1"))
    bench.report("a1", "t2", TaskState.FINISHED)
    bench.by_hand(destroy("v1"))
    assert bench.a1.total == R(BIG)
    assert bench.reserved() == {"eng": "disk:100"}


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (reserve("ops", "cpus:1"), "role ops is not the offer's role eng, nor below it"),
        (reserve("*", "cpus:1"), "nothing can be reserved for the role *"),
        (reserve("eng/-x", "cpus:1"), "is not a role"),
        (
            reserve("eng", "cpus:9"),
            "short of cpus:1: cpus:9 is requested, and less than that of the offer is free",
        ),
        (
            reserve("eng", "cpus:7"),
            "short of cpus:1: cpus:7 is requested, and less than that of the offer can be",
        ),
        (reserve("eng", ""), "RESERVE names no resources"),
        (reserve("eng", "volumes:{v1}"), "destroy it, then unreserve its disk"),
        (reserve("eng/db", "cpus:1", refine="eng/db"), "only a role above eng/db can be refined"),
        (reserve("eng/db", "cpus:3", refine="eng"), "less than that of the offer is reserved for eng"),
        (unreserve("eng", "cpus:3"), "less than that of the offer is reserved for eng without labels"),
        (unreserve("eng", "cpus:1", labels={"a": "b"}), "is reserved for eng with the labels a=b"),
        (unreserve("ops", "cpus:1"), "less than that of the offer is reserved for ops"),
        (
            create("eng", "v2", 300),
            "short of disk:200: disk:300 is requested, and less than that of the offer is",
        ),
        (create("eng", "v1", 10), "agent a1 has a volume v1 already"),
        (create("ops", "v2", 10), "the offer is for role eng, not for ops"),
        (create("eng", "v2", 0), "a volume is made of disk, as in disk:1024, not of nothing"),
        (destroy("v9"), "agent a1 has no volume 'v9' for role eng"),
        (Operation(type="CREATE"), "CREATE names no volume"),
    ],
)
def test_an_operation_that_cannot_be_is_refused_in_one_line_and_changes_nothing(operation, words):
    bench = Yard()
    bench.by_hand(reserve("eng", "cpus:2;disk:200"))
    bench.by_hand(create("eng", "v1", 100))
    bench.framework("f1", **only("eng"))
    before = bench.a1.reserved_resources
    said = bench.accept_with("f1", [operation.model_copy(update={"operation_id": "x"})])
    assert words in outcomes(said)["x"]
    assert bench.a1.reserved_resources is before
    assert of(said, SetReservations) == []


def test_a_refused_operation_does_not_keep_the_next_ones_from_being_carried_out():
    bench = Yard()
    bench.framework("f1", **only("eng"))
    said = bench.accept_with("f1", [destroy("nothing", "d"), reserve("eng", "cpus:1", "r")])
    assert "no volume" in outcomes(said)["d"]
    assert outcomes(said)["r"] == "OPERATION_FINISHED"


def test_what_is_unreserved_is_everybodys_again():
    bench = Yard("cpus:4;mem:4000")
    bench.framework("f1", **only("eng"))
    bench.accept_with("f1", [reserve("eng", "cpus:4;mem:4000")])
    bench.accept_with("f1", [unreserve("eng", "cpus:3;mem:3000")], refuse=1000.0)
    (offer,) = offers_in(bench.framework("f2", **only("ops")))
    assert offer.resources == R("cpus:3;mem:3000")
    assert bench.reserved() == {"eng": "cpus:1;mem:1000"}


def test_a_refined_reservation_falls_back_to_the_one_above():
    bench = Yard("cpus:4;mem:4000")
    bench.by_hand(reserve("eng", "cpus:4;mem:4000"))
    bench.by_hand(reserve("eng/db", "cpus:3;mem:3000"))
    assert bench.reserved() == {"eng": "cpus:1;mem:1000", "eng/db": "cpus:3;mem:3000"}
    (offer,) = offers_in(bench.framework("f1", **only("eng")))
    assert offer.resources == R("cpus:1;mem:1000")
    (offer,) = offers_in(bench.framework("f2", **only("eng/db")))
    assert offer.resources == R("cpus:3;mem:3000")
    assert [layer.role for layer in offer.reservations[0].refines] == ["eng"]
    bench.accept_with("f2", [unreserve("eng/db", "cpus:3;mem:3000")], refuse=1000.0)
    assert bench.reserved() == {"eng": "cpus:4;mem:4000"}


def test_reserving_for_a_role_below_gives_it_away():
    bench = Yard("cpus:4;mem:4000")
    bench.framework("f1", **only("eng"))
    said = bench.accept_with("f1", [reserve("eng/db", "cpus:3;mem:3000", "r")], task("t1", "cpus:2;mem:100"))
    assert outcomes(said) == {"r": "OPERATION_FINISHED"}
    (error,) = updates_in(said)
    assert "the offer has cpus:1;mem:1000 left" in error.message
    assert bench.offered("f1") == R("cpus:1;mem:1000")


def test_what_nobody_has_reserved_is_reserved_before_what_the_role_above_has():
    bench = Yard("cpus:4")
    bench.by_hand(reserve("eng", "cpus:2"))
    bench.by_hand(reserve("eng/db", "cpus:3"))
    assert (
        bench.reserved() == {"eng": "cpus:1", "eng/db": "cpus:1"}
        or sum(each.resources.get("cpus") for each in bench.a1.reservations if each.role == "eng/db") == 3000
    )
    fresh = [each.refines for each in bench.a1.reservations if each.role == "eng/db"]
    assert sorted(map(len, fresh)) == [0, 1]
    bench.by_hand(unreserve("eng/db", "cpus:3"))
    assert bench.reserved() == {"eng": "cpus:2"}


def test_labels_tell_reservations_apart():
    bench = Yard()
    bench.by_hand(reserve("eng", "cpus:2", labels={"for": "x"}))
    bench.by_hand(reserve("eng", "cpus:1"))
    with pytest.raises(Conflict):
        bench.by_hand(unreserve("eng", "cpus:2"))
    bench.by_hand(unreserve("eng", "cpus:2", labels={"for": "x"}))
    assert bench.reserved() == {"eng": "cpus:1"}


def test_running_tasks_fill_up_the_reservation_of_their_role():
    bench = Yard("cpus:4;mem:4000")
    bench.framework("f1", **only("eng"))
    bench.accept_with("f1", [], task("t1", "cpus:2;mem:2000"))
    bench.accept_with("f1", [reserve("eng", "cpus:2;mem:2000")], refuse=1000.0)
    # The running task counts as the reservation's: what is free belongs to anybody.
    (offer,) = offers_in(bench.framework("f2", **only("ops")))
    assert offer.resources == R("cpus:2;mem:2000")
    bench.accept_with("f2", [], task("t2", "cpus:2;mem:2000"))
    with pytest.raises(Conflict, match="is unused"):
        bench.by_hand(unreserve("eng", "cpus:2;mem:2000"))


def test_a_destroyed_volume_becomes_reserved_disk_again():
    bench = Yard()
    bench.framework("f1", **only("eng"))
    bench.accept_with("f1", [reserve("eng", "disk:500"), create("eng", "v1", 500)])
    assert bench.reserved() == {"eng": "volumes:{v1}"}
    said = bench.accept_with("f1", [destroy("v1", "d"), unreserve("eng", "disk:500", "u")])
    assert outcomes(said) == {"d": "OPERATION_FINISHED", "u": "OPERATION_FINISHED"}
    assert bench.a1.total == R(BIG)
    assert bench.reserved() == {}
    (held,) = of(said, SetReservations)
    assert held.reserved_resources.volumes == ()
    assert held.reserved_resources.version == 4


def test_a_volume_in_use_is_not_destroyed():
    bench = Yard()
    bench.framework("f1", **only("eng"))
    bench.accept_with(
        "f1",
        [reserve("eng", "disk:5"), create("eng", "v1", 5)],
        with_volume("t1", "cpus:1;mem:10", "v1"),
        refuse=0.0,
    )
    said = bench.accept_with("f1", [destroy("v1", "d")])
    assert "task t1 uses volume v1" in outcomes(said)["d"]
    with pytest.raises(Conflict, match="task t1 uses volume v1"):
        bench.by_hand(destroy("v1"))


@pytest.mark.parametrize(
    ("names", "path", "words"),
    [
        (("v9",), "data", "agent a1 has no volume v9 for role eng"),
        (("w1",), "data", "agent a1 has no volume w1 for role eng"),
        (("v1", "v1"), "data", "names a volume twice"),
        (("v1",), "../data", "is not a path within the sandbox"),
        (("v1",), "/data", "is not a path within the sandbox"),
        (("v1",), "a//b", "is not a path within the sandbox"),
        (("v1",), "stdout", "the name of the task's own output"),
    ],
)
def test_a_task_with_a_volume_that_it_cannot_have_is_an_error(names, path, words):
    bench = Yard()
    bench.by_hand(reserve("eng", "disk:10"))
    bench.by_hand(reserve("ops", "disk:10"))
    bench.by_hand(create("eng", "v1", 10))
    bench.by_hand(create("ops", "w1", 10))
    bench.framework("f1", **only("eng"))
    said = bench.accept_with("f1", [], with_volume("t1", "cpus:1;mem:10", *names, path=path))
    (error,) = updates_in(said)
    assert error.state is TaskState.ERROR
    assert words in error.message


def test_a_stated_demand_can_ask_for_a_volume():
    bench = Yard()
    bench.by_hand(reserve("eng", "disk:10"))
    bench.by_hand(create("eng", "v1", 10))
    shape = Shape(resources=R("cpus:1;mem:10;volumes:{v1}"), role="eng")
    (offer,) = offers_in(bench.framework("f1", Demand(version=1, shapes=(shape,)), **only("eng")))
    assert offer.resources == shape.resources
    assert [each.volume_id for each in offer.volumes] == ["v1"]


# -- operators ------------------------------------------------------------------------------------------


def test_an_operator_reserves_what_is_offered_by_rescinding_the_offers():
    bench = Yard("cpus:4;mem:4000")
    bench.framework("f1", **only("ops"))
    assert bench.offered("f1") == R("cpus:4;mem:4000")
    said = bench.by_hand(reserve("eng", "cpus:3"))
    assert len(of(said, Rescind)) == 1
    assert bench.offered("f1") == R("cpus:1;mem:4000")


def test_an_operator_is_refused_without_a_rescind_when_that_would_not_help():
    bench = Yard("cpus:4;mem:4000")
    bench.framework("f1", **only("ops"))
    bench.accept_with("f1", [], task("t1", "cpus:2;mem:2000"))
    before = set(bench.state.offers)
    with pytest.raises(Conflict, match="short of cpus:1: cpus:3 is requested, and less than that of agent a1 is free"):
        bench.by_hand(reserve("eng", "cpus:3"))
    assert set(bench.state.offers) == before


@pytest.mark.parametrize(
    ("operation", "agent", "error"),
    [
        (reserve("eng", "cpus:1"), "a9", NotFound),
        (reserve("*", "cpus:1"), "a1", InvalidInput),
        (destroy("v1"), "a1", NotFound),
    ],
)
def test_an_operator_hears_what_is_wrong(operation, agent, error):
    bench = Yard()
    with pytest.raises(error):
        bench.by_hand(operation, agent)


def test_static_reservations_stay():
    bench = Bench()
    static = (Reservation(role="eng", resources=R("cpus:2;disk:10")),)
    info = AgentInfo(agent_id="a1", resources=R(BIG), reservations=static)
    bench.decide(RegisterAgent(agent=info, attempt="1", cells=1))
    bench.decide(OperatorOperate("a1", unreserve("eng", "cpus:2")))
    assert "by its own options" in str(bench.decisions[-1].refusals[0][1])
    for operation in (reserve("eng/db", "cpus:1", refine="eng"), create("eng", "v1", 10)):
        bench.decide(OperatorOperate("a1", operation))
        assert bench.decisions[-1].refusals == []
    agent = bench.state.agents["a1"]
    assert {each.role: str(each.resources) for each in agent.reservations} == {
        "eng": "cpus:1;volumes:{v1}",
        "eng/db": "cpus:1",
    }
    assert str(agent.reserved_resources.reservations[0].resources) == "cpus:1"
