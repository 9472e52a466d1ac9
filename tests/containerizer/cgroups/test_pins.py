"""Which CPUs tasks are pinned to."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker_mesos.containerizer.cgroups.pins import NotFree, Pins, cpus_of, nodes, text_of

TWO_NODES = {cpu: cpu // 4 for cpu in range(8)}


def test_a_cpu_is_given_to_one_task_at_a_time() -> None:
    pins = Pins(lambda: {0, 1, 5}, {})
    assert pins.take("a", 2) == "0,1"
    with pytest.raises(NotFree, match="cpuset: 1 CPUs are free to pin here, the task wants 2"):
        pins.take("b", 2)
    assert pins.take("b", 1) == "5"
    pins.release("a")
    pins.release("a")
    assert pins.take("c", 2) == "0,1"


def test_cpus_of_a_task_are_of_one_node_where_that_is_possible() -> None:
    pins = Pins(lambda: set(range(8)), TWO_NODES)
    assert pins.take("a", 3) == "0,1,2"
    assert pins.take("b", 2) == "4,5", "one is left on the first node"
    assert pins.take("c", 1) == "3", "the fullest node that has room"
    pins.release("a")
    assert pins.take("d", 5) == "0,1,2,6,7", "no node has as many"


def test_what_an_earlier_spawner_gave_is_not_given_again() -> None:
    pins = Pins(lambda: set(range(8)), TWO_NODES)
    pins.hold("a", "0-2")
    assert pins.take("b", 1) == "3"


def test_cpus_that_the_agent_has_lost_are_not_free() -> None:
    available = {0, 1}
    pins = Pins(lambda: available, {})
    available.discard(0)
    with pytest.raises(NotFree, match="1 CPUs are free"):
        pins.take("a", 2)


def test_lists_of_cpus_are_read_as_the_kernel_writes_them() -> None:
    assert cpus_of("0-2,5\n") == {0, 1, 2, 5} and cpus_of("\n") == set()
    assert cpus_of(text_of({7, 1})) == {1, 7}
    for bad in ("3-1", "x", "0-9999999999", "-1"):
        with pytest.raises(ValueError):
            cpus_of(bad)


def test_the_memory_nodes_are_found(tmp_path: Path) -> None:
    for node, cpus in ((0, "0-1"), (1, "2,3")):
        (tmp_path / f"node{node}").mkdir()
        (tmp_path / f"node{node}" / "cpulist").write_text(cpus)
    (tmp_path / "node9").mkdir()
    (tmp_path / "online").write_text("0-1")
    assert nodes(str(tmp_path)) == {0: 0, 1: 0, 2: 1, 3: 1}
    assert nodes(str(tmp_path / "none")) == {}
