"""The values of limits, and the order in which they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from broker_mesos.containerizer.cgroups.limits import LAUNCHER_BYTES, MB, Limits, in_order, settings
from tests.examples import examples

KINDS = ("cpu", "memory", "pids", "cpuset")


def values(limits: Limits, version: int) -> dict[str, str]:
    kinds = KINDS if limits.cpuset else KINDS[:3]
    return {each.file: each.text for kind in kinds for each in settings(limits, kind, version)}


def test_limits_are_written_as_v1_has_them() -> None:
    assert values(Limits(cpus=0.75, memory=64 * MB, pids=32), 1) == {
        "cpu.shares": "768",
        "cpu.cfs_quota_us": "-1",
        "cpu.cfs_burst_us": "0",
        "cpu.idle": "0",
        "memory.limit_in_bytes": str(65 * MB),
        "memory.memsw.limit_in_bytes": str(65 * MB),
        "pids.max": "33",
    }


def test_limits_are_written_as_v2_has_them() -> None:
    assert values(Limits(cpus=3, memory=64 * MB, pids=32, quota=0.5, burst=2, cpuset="0-2"), 2) == {
        "cpu.weight": "300",
        "cpu.max": "50000 100000",
        "cpu.max.burst": "50000",
        "cpu.idle": "0",
        "memory.max": str(65 * MB),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "33",
        "cpuset.cpus": "0-2",
    }


def test_a_task_without_a_memory_limit_may_use_memory_and_swap() -> None:
    assert values(Limits(), 1)["memory.limit_in_bytes"] == values(Limits(), 1)["memory.memsw.limit_in_bytes"] == "-1"
    assert (values(Limits(), 2)["memory.max"], values(Limits(), 2)["memory.swap.max"]) == ("max", "max")


def test_a_program_can_be_loaded_under_the_smallest_limit() -> None:
    assert Limits(memory=1).memory_bytes == 32 * MB + LAUNCHER_BYTES


@pytest.mark.parametrize(("cpus", "shares", "weight"), [(0, "2", "1"), (0.001, "2", "1"), (1000, "262144", "10000")])
def test_shares_stay_in_the_range_that_the_kernel_accepts(cpus: float, shares: str, weight: str) -> None:
    assert values(Limits(cpus=cpus), 1)["cpu.shares"] == shares
    assert values(Limits(cpus=cpus), 2)["cpu.weight"] == weight


def test_a_quota_is_never_below_what_the_kernel_accepts() -> None:
    assert values(Limits(quota=0.0001), 1)["cpu.cfs_quota_us"] == "1000"


class Checks:
    """A cgroup that refuses values as the kernel does."""

    def __init__(self) -> None:
        self.values = {"cpu.cfs_burst_us": "0", "cpu.max.burst": "0", "cpu.idle": "0"}

    def write(self, file: str, text: str) -> None:
        if file == "cpu.idle" and text != self.values[file]:
            self.values |= {"cpu.shares": "1024", "cpu.weight": "100"}
        assert file not in ("cpu.shares", "cpu.weight") or self.values["cpu.idle"] == "0"
        self.values[file] = text
        number = {
            name: float("inf") if v in ("-1", "max") else float(v.split()[0].replace("max", "inf"))
            for name, v in self.values.items()
            if name != "cpuset.cpus"
        }
        inf = float("inf")
        assert number.get("memory.limit_in_bytes", inf) <= number.get("memory.memsw.limit_in_bytes", inf)
        assert number["cpu.cfs_burst_us"] <= number.get("cpu.cfs_quota_us", inf)
        assert number["cpu.max.burst"] <= number.get("cpu.max", inf)


LIMITS = st.builds(
    Limits,
    cpus=st.sampled_from([0.1, 1, 3]),
    memory=st.sampled_from([0, 64 * MB, 128 * MB, 256 * MB]),
    quota=st.sampled_from([0, 0.2, 1, 4]),
    burst=st.sampled_from([0, 0.1, 1, 9]),
    idle=st.booleans(),
)


@profile(max_examples=examples(40))
@given(st.lists(LIMITS, min_size=1, max_size=6), st.sampled_from([1, 2]))
def test_the_kernel_accepts_every_change_of_limits_and_keeps_the_last_ones(changes: list[Limits], version: int) -> None:
    cgroup = Checks()
    written = dict(cgroup.values)
    for limits in changes:
        wanted = [each for kind in KINDS for each in settings(limits, kind, version)]
        for each in in_order(wanted, written):
            cgroup.write(each.file, each.text)
            written[each.file] = each.text
        without = {"cpu.shares", "cpu.weight"} if limits.idle else set()
        kept = {each.file: each.text for each in wanted if each.file not in without}
        assert kept.items() <= cgroup.values.items()


def test_values_that_a_cgroup_has_already_are_not_written_again() -> None:
    wanted = settings(Limits(memory=64 * MB), "memory", 1)
    assert in_order(wanted, {each.file: each.text for each in wanted}) == []
