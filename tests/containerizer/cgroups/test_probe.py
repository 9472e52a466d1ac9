"""What the probe finds, and what it reports where there is nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker_mesos.containerizer.cgroups.driver import Driver
from broker_mesos.containerizer.cgroups.layout import base_name
from broker_mesos.containerizer.cgroups.probe import probe
from tests.containerizer.cgroups.fake_kernel import FakeKernel


def probed(kernel: FakeKernel, work_dir: str, **options: object) -> Driver | str:
    return probe(work_dir, files=kernel, proc=str(kernel.proc), root=str(kernel.root), **options)  # type: ignore[arg-type]


def mount_v1(kernel: FakeKernel, **options: str) -> None:
    for each in ("cpu", "memory", "pids"):
        kernel.mount_v1(each, **options)


def left(kernel: FakeKernel) -> list[str]:
    return [str(each) for each in (kernel.root).rglob("bmesos-*")] + [str(each) for each in kernel.root.rglob("probe")]


def text(kernel: FakeKernel, path: str) -> str:
    return (kernel.root / "cg" / path).read_text().strip()


def test_a_machine_with_v1_is_used(kernel: FakeKernel, work_dir: str) -> None:
    mount_v1(kernel)
    driver = probed(kernel, work_dir)
    assert isinstance(driver, Driver) and driver.reusable
    assert driver.close() and left(kernel) == []


def test_a_machine_with_both_versions_is_used(kernel: FakeKernel, work_dir: str) -> None:
    mount_v1(kernel)
    kernel.mount_v2("", "/x", inside=(1,))
    driver = probed(kernel, work_dir)
    assert isinstance(driver, Driver)
    inside = text(kernel, "unified/x/cgroup.procs").split()
    assert inside == [str(os.getpid()), "1"], "without controllers nobody has to move"


def test_on_v2_the_spawner_moves_to_a_leaf_and_the_controllers_are_passed_down(
    kernel: FakeKernel, work_dir: str
) -> None:
    kernel.mount_v2("cpu io memory pids", "/s.scope")
    driver = probed(kernel, work_dir)
    assert isinstance(driver, Driver), driver
    assert text(kernel, "unified/s.scope/cgroup.procs") == ""
    assert text(kernel, "unified/s.scope/bmesos-service/cgroup.procs") == str(os.getpid())
    for path in ("unified/s.scope", f"unified/s.scope/{base_name(work_dir)}"):
        assert text(kernel, f"{path}/cgroup.subtree_control").split() == ["cpu", "memory", "pids", "io"]


def test_the_agent_moves_along_but_nobody_else(kernel: FakeKernel, work_dir: str) -> None:
    kernel.mount_v2("cpu memory pids", "/s.scope", inside=(1,))
    assert probed(kernel, work_dir) == (
        f"cgroup2 {kernel.root}/cg/unified/s.scope is not delegated to us: run under systemd with a scope, or as root "
        "(it has 1 processes of others, such as 1)"
    )
    assert left(kernel) == []
    assert isinstance(probed(kernel, work_dir, movable={1}), Driver)
    assert text(kernel, "unified/s.scope/bmesos-service/cgroup.procs").split() == [str(os.getpid()), "1"]


def test_the_topmost_cgroup_of_v2_may_have_processes(kernel: FakeKernel, work_dir: str) -> None:
    kernel.mount_v2("cpu memory pids", "/", inside=(1,))
    assert isinstance(probed(kernel, work_dir), Driver)


def test_a_user_without_rights_gets_the_reason_and_leaves_nothing(kernel: FakeKernel, work_dir: str) -> None:
    mount_v1(kernel, own="/a")
    kernel.denied.add(f"{kernel.root}/cg/pids")
    assert probed(kernel, work_dir) == (
        f"{kernel.root}/cg/pids/a (cgroup v1) may only be changed by root: run the agent as root"
    )
    assert left(kernel) == []


def test_a_user_without_delegation_on_v2_gets_the_reason(kernel: FakeKernel, work_dir: str) -> None:
    kernel.mount_v2("cpu memory pids", "/s.scope")
    kernel.denied.add(f"{kernel.root}/cg")
    assert probed(kernel, work_dir) == (
        f"cgroup2 {kernel.root}/cg/unified/s.scope is not delegated to us: run under systemd with a scope, or as root"
    )


def test_v1_is_used_alone_if_v2_beside_it_is_not_ours(kernel: FakeKernel, work_dir: str) -> None:
    mount_v1(kernel)
    kernel.mount_v2("", "/x")
    kernel.denied.add(f"{kernel.root}/cg/unified")
    assert isinstance(probed(kernel, work_dir), Driver)
    assert [each for each in left(kernel) if "unified" in each] == []


@pytest.mark.parametrize("name", ["memory.limit_in_bytes", "pids.max"])
def test_a_kernel_that_takes_limits_and_keeps_none_is_not_trusted(kernel: FakeKernel, work_dir: str, name: str) -> None:
    mount_v1(kernel)
    kernel.ignored.add(name)
    reason = probed(kernel, work_dir)
    assert isinstance(reason, str) and f"/{name} is " in reason and "was written" in reason
    assert left(kernel) == []


def test_a_process_that_does_not_show_up_in_its_cgroup_is_the_reason(kernel: FakeKernel, work_dir: str) -> None:
    mount_v1(kernel)
    kernel.ignored.add("cgroup.procs")
    reason = probed(kernel, work_dir)
    assert isinstance(reason, str) and reason.endswith("is not in it")


def test_a_work_folder_that_is_not_there_is_the_reason(kernel: FakeKernel, tmp_path: Path) -> None:
    assert probed(kernel, str(tmp_path / "no")) == f"cannot look at {tmp_path}/no: No such file or directory"


def test_a_folder_that_was_replaced_has_other_cgroups(work_dir: str, tmp_path: Path) -> None:
    before = base_name(work_dir)
    os.rename(work_dir, tmp_path / "old")
    os.mkdir(work_dir)
    assert base_name(work_dir) != before == base_name(str(tmp_path / "old"))
