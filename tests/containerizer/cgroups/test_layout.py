"""In which hierarchies and folders the task cgroups are."""

from __future__ import annotations

import pytest

from broker_mesos.containerizer.cgroups.layout import Layout, lay_out, task_number
from broker_mesos.containerizer.cgroups.mounts import Hierarchy, hierarchies
from tests.containerizer.cgroups.fake_kernel import FakeKernel


def found(kernel: FakeKernel) -> list[Hierarchy]:
    return hierarchies(str(kernel.proc), str(kernel.root))


def laid_out(kernel: FakeKernel, **options: bool) -> Layout:
    layout = lay_out(found(kernel), "bmesos-1", **options)
    assert isinstance(layout, Layout), layout
    return layout


def bases(kernel: FakeKernel, layout: Layout) -> dict[str, str]:
    cut = f"{kernel.root}/cg/"
    return {each: place.base.removeprefix(cut) for place in layout.places for each in place.controllers}


def test_each_controller_of_v1_is_used_below_the_own_cgroup_in_its_hierarchy(kernel: FakeKernel) -> None:
    kernel.mount_v1("cpu,cpuacct", "/a")
    kernel.mount_v1("memory", "/process/b")
    kernel.mount_v1("pids")
    kernel.mount_v1("blkio")
    kernel.mount_v1("freezer")
    layout = laid_out(kernel)
    assert bases(kernel, layout) == {
        "cpu": "cpu,cpuacct/a/bmesos-1",
        "cpuacct": "cpu,cpuacct/a/bmesos-1",
        "memory": "memory/process/b/bmesos-1",
        "pids": "pids/bmesos-1",
        "io": "blkio/bmesos-1",
    }
    assert set(layout.versions.values()) == {1}


def test_on_both_versions_limits_are_on_v1_and_v2_kills_and_counts(kernel: FakeKernel) -> None:
    for each in ("cpu", "cpuacct", "memory", "pids"):
        kernel.mount_v1(each)
    kernel.mount_v2("hugetlb", "/x")
    layout = laid_out(kernel)
    assert bases(kernel, layout) == {
        "cpu": "cpu/bmesos-1",
        "memory": "memory/bmesos-1",
        "pids": "pids/bmesos-1",
        "core": "unified/x/bmesos-1",
    }
    assert layout.versions["core"] == 2


def test_a_controller_that_v1_does_not_have_is_used_on_v2(kernel: FakeKernel) -> None:
    kernel.mount_v1("cpu")
    kernel.mount_v1("memory")
    kernel.mount_v2("pids io")
    assert laid_out(kernel).versions == {"cpu": 1, "memory": 1, "pids": 2, "io": 2, "core": 2}


def test_v2_alone_is_one_place(kernel: FakeKernel) -> None:
    kernel.mount_v2("cpuset cpu io memory pids", "/system.slice/bmesos.scope")
    layout = laid_out(kernel)
    assert set(bases(kernel, layout).values()) == {"unified/system.slice/bmesos.scope/bmesos-1"}
    assert laid_out(kernel, cpuset=True).versions["cpuset"] == 2


def test_a_spawner_that_was_moved_to_a_leaf_finds_the_scope_above_it(kernel: FakeKernel) -> None:
    kernel.mount_v2("cpu memory pids", "/s.scope/bmesos-service")
    assert set(bases(kernel, laid_out(kernel)).values()) == {"unified/s.scope/bmesos-1"}


def test_what_a_spawner_in_a_leaf_can_use_is_what_the_scope_has(kernel: FakeKernel) -> None:
    kernel.mount_v2("cpuset cpu memory pids", "/s.scope/bmesos-service")
    passed_on = kernel.root / "cg/unified/s.scope/bmesos-service/cgroup.controllers"
    passed_on.write_text("memory pids\n")
    assert laid_out(kernel, cpuset=True).versions["cpuset"] == 2
    (kernel.root / "cg/unified/s.scope/cgroup.controllers").write_text("memory pids\n")
    assert lay_out(found(kernel), "b") == (
        "cgroup2 /s.scope has no controller cpu: run under systemd with a scope, or as root"
    )


def test_a_mount_for_writing_is_preferred_to_one_for_reading(kernel: FakeKernel) -> None:
    kernel.mount_v2("cpu memory pids")
    line = (kernel.proc / "mountinfo").read_text()
    (kernel.proc / "mountinfo").write_text(line.replace("/cg/unified rw", "/other ro") + line)
    assert [(each.mounted, each.writable) for each in found(kernel)] == [(f"{kernel.root}/cg/unified", True)]


def test_a_path_with_a_blank_is_read_from_mountinfo(kernel: FakeKernel) -> None:
    (kernel.proc / "cgroup").write_text("0::/../x\n")
    (kernel.proc / "mountinfo").write_text("29 2 0:2 / /my\\040cg rw - cgroup2 none rw\n")
    (only,) = found(kernel)
    assert only.own == f"{kernel.root}/my cg"


def test_without_cgroups_the_reason_is_one_line(kernel: FakeKernel) -> None:
    assert lay_out(found(kernel), "b") == "no cgroups are mounted"


def test_a_missing_controller_is_named(kernel: FakeKernel) -> None:
    kernel.mount_v1("cpu")
    assert lay_out(found(kernel), "b") == "no cgroup hierarchy has the controller memory and pids"
    kernel.mount_v1("memory")
    kernel.mount_v1("pids")
    assert lay_out(found(kernel), "b", cpuset=True) == "no cgroup hierarchy has the controller cpuset"


def test_a_unit_without_delegation_is_named(kernel: FakeKernel) -> None:
    kernel.mount_v2("memory pids", "/user.slice/s.scope")
    assert lay_out(found(kernel), "b") == (
        "cgroup2 /user.slice/s.scope has no controller cpu: run under systemd with a scope, or as root"
    )


def test_a_hierarchy_that_is_mounted_read_only_is_named(kernel: FakeKernel) -> None:
    for each in ("cpu", "memory", "pids"):
        kernel.mount_v1(each, options="ro" if each == "pids" else "rw")
    assert lay_out(found(kernel), "b") == f"{kernel.root}/cg/pids is mounted read-only, as in most containers"


@pytest.mark.parametrize(
    ("name", "number"), [("t1", 1), ("t120", 120), ("t0", 0), ("t01", 0), ("probe", 0), ("t1x", 0)]
)
def test_only_names_that_a_driver_gives_are_task_cgroups(name: str, number: int) -> None:
    assert task_number(name) == number
