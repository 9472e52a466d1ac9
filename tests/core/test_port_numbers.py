"""Ports that are requested by their number: which ones are picked, and what a task is told of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_mesos.core.model.framework import Demand, Shape
from broker_mesos.core.model.multiples import fits, portion
from broker_mesos.core.model.port_numbers import (
    check_port_names,
    count_ports,
    following,
    numbers_of,
    pick_ports,
    port_variables,
)
from broker_mesos.core.model.resources import Resources

R = Resources.parse
numbers = st.sets(st.integers(1, 40), max_size=30)


def ports(some: set[int]) -> Resources:
    return Resources.from_mapping({"ports": [(each, each) for each in some]})


@given(free=numbers, number=st.integers(0, 35), start=st.integers(0, 45))
def test_so_many_free_numbers_are_picked_from_the_start_on_and_then_the_lowest(free: set[int], number, start) -> None:
    picked = pick_ports(ports(free), number, start)
    wanted = [*sorted(each for each in free if each >= start), *sorted(each for each in free if each < start)][:number]
    assert numbers_of(picked) == sorted(wanted)
    assert ports(free).contains(picked) and count_ports(picked) == min(number, len(free))


@given(free=numbers, rounds=st.integers(1, 6), number=st.integers(1, 3))
def test_a_port_is_picked_again_only_after_all_the_others(free: set[int], rounds: int, number: int) -> None:
    start, seen = 0, []
    for _ in range(min(rounds, len(free) // number)):
        picked = pick_ports(ports(free), number, start)
        start = following(picked, start)
        seen += numbers_of(picked)
    assert len(seen) == len(set(seen))


def test_tasks_fit_as_often_as_the_scarcest_resource_and_the_ports_allow() -> None:
    need, free = R("cpus:1;mem:10"), R("cpus:4;mem:100;ports:[1-3,10-13]")
    assert [fits(need, free, each) for each in (0, 1, 2, 3, 7, 8)] == [4, 4, 3, 2, 1, 0]
    assert fits(R(""), free, 2) == 3 and fits(need, R("cpus:4;mem:100"), 1) == 0
    assert str(portion(need, 2, free, 2, start=11)) == "cpus:2;mem:20;ports:[1-1,11-13]"


def test_a_task_is_told_its_ports_by_number_and_by_name() -> None:
    found = port_variables(R("cpus:1;ports:[31000-31001,31005-31005]"), ("http", "admin-ui"))
    assert found == {
        "PORT0": "31000",
        "PORT1": "31001",
        "PORT2": "31005",
        "PORT_HTTP": "31000",
        "PORT_ADMIN_UI": "31001",
    }
    assert port_variables(R("cpus:1")) == {}


@pytest.mark.parametrize(
    ("names", "count", "words"),
    [
        (("1st",), 1, "write letters, digits"),
        (("a b",), 1, "write letters, digits"),
        (("x" * 64,), 1, "write letters, digits"),
        (("http", "HTTP"), 2, "is given twice"),
        (("a-b", "a_b"), 2, "is given twice"),
        (("a", "b"), 1, "2 port names for 1 ports"),
    ],
)
def test_a_wrong_name_of_a_port_is_refused_in_one_line(names: tuple[str, ...], count: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_port_names(names, count)
    check_port_names(("http", "admin"), 3)


def test_ports_are_requested_in_one_form_only() -> None:
    with pytest.raises(ValueError, match="keep one"):
        Shape(resources=R("cpus:1;ports:[1-2]"), ports=1)
    with pytest.raises(ValueError, match="is not an attribute's name"):
        Shape(resources=R("cpus:1"), most=1, per="no name")


def test_shapes_differ_by_their_ports_and_limits_and_not_by_what_is_placed() -> None:
    plain = Shape(resources=R("cpus:1"))
    assert plain.key[6] is None
    others = [
        plain.model_copy(update=each)
        for each in ({"ports": 1}, {"most": 1}, {"most": 2}, {"most": 1, "name": "a"}, {"ports": 2})
    ]
    assert len({each.key for each in (plain, *others)}) == 6
    assert others[1].key == others[1].model_copy(update={"placed": {"a1": 1}, "count": 9}).key


def test_a_cell_of_an_earlier_release_reads_a_demand_without_the_new_fields() -> None:
    demand = Demand(version=1, shapes=(Shape(resources=R("cpus:1"), ports=2, most=1, per="rack", placed={"r1": 1}),))
    assert b'"ports":2,"most":1,"per":"rack","placed":{"r1":1}' in demand.encode()
    assert Demand(version=1, shapes=(Shape(resources=R("cpus:1")),)).encode() == (
        b'{"version":1,"shapes":[{"resources":"cpus:1"}]}'
    )
