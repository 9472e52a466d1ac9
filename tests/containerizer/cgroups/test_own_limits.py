"""The limits of the control groups that an agent is in itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker_mesos.containerizer.cgroups import own_limits


def group(root: Path, path: str, **files: str) -> None:
    folder = root / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text + "\n")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "proc").mkdir()
    return tmp_path / "proc"


def test_the_limits_of_a_unit_and_of_those_above_it_count_on_cgroup_v2(tmp_path: Path, proc: Path) -> None:
    (proc / "cgroup").write_text("0::/system.slice/bmesos.service\n")
    (proc / "mountinfo").write_text("29 23 0:26 / /cg rw,nosuid - cgroup2 cgroup2 rw\n")
    group(tmp_path, "cg/system.slice", cpu_max="max 100000", memory_max="3000")
    group(tmp_path, "cg/system.slice/bmesos.service", cpu_max="150000 100000", memory_max="4000")
    assert own_limits.cpus(proc, tmp_path) == 1.5
    assert own_limits.memory(proc, tmp_path) == 3000


def test_the_limits_of_its_group_count_on_cgroup_v1(tmp_path: Path, proc: Path) -> None:
    (proc / "cgroup").write_text("8:cpu,cpuacct:/a\n7:memory:/a/b\n0::/\n")
    cpu = "31 2 0:1 / /c/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
    (proc / "mountinfo").write_text(f"{cpu}\n32 2 0:2 / /c/memory rw - cgroup cgroup rw,memory\n")
    group(tmp_path, "c/cpu,cpuacct/a", cpu_cfs_quota_us="50000", cpu_cfs_period_us="100000")
    group(tmp_path, "c/memory/a", memory_limit_in_bytes="5000")
    group(tmp_path, "c/memory/a/b", memory_limit_in_bytes="9223372036854771712")
    assert own_limits.cpus(proc, tmp_path) == 0.5
    assert own_limits.memory(proc, tmp_path) == 5000


def test_in_a_container_that_sees_its_group_alone_the_top_of_the_mount_counts(tmp_path: Path, proc: Path) -> None:
    (proc / "cgroup").write_text("4:memory:/docker/abc\n")
    (proc / "mountinfo").write_text("32 2 0:2 /docker/abc /c/memory ro - cgroup cgroup ro,memory\n")
    group(tmp_path, "c/memory", memory_limit_in_bytes="7000")
    assert own_limits.memory(proc, tmp_path) == 7000
    assert own_limits.cpus(proc, tmp_path) == float("inf")
