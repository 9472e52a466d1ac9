"""What a machine has to lend."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from broker_mesos.agent import cgroup_limits, probe
from broker_mesos.errors import InvalidResources


def test_a_machine_lends_what_it_has_less_a_reserve(tmp_path: Path) -> None:
    found = probe.find_resources(tmp_path / "not" / "yet")
    assert found.names()[:2] == ["cpus", "mem"]
    assert found.get("cpus") > 0 and found.get("mem") > 0
    assert found.ranges["ports"] == ((31000, 32000),)


def test_names_that_are_given_replace_and_others_are_found(tmp_path: Path) -> None:
    found = probe.find_resources(tmp_path, "cpus:64;licences:3;kinds:{a,b}")
    assert found.get("cpus") == 64_000 and found.get("licences") == 3_000
    assert found.sets["kinds"] == frozenset("ab")
    assert found.get("mem") > 0 and "ports" in found.ranges


def test_nothing_is_found_in_place_of_a_given_zero(tmp_path: Path) -> None:
    found = probe.find_resources(tmp_path, "cpus:1; mem : 0 ;disk:0;ports:[]")
    assert found.names() == ["cpus"]


@pytest.mark.parametrize(
    "text", ["cpus:-1", "mem:NaN", "cpus", "cpus:[1-2]", "ports:5", "mem:99999999999999", "cpus:1;cpus:2"]
)
def test_amounts_that_make_no_sense_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidResources):
        probe.find_resources(tmp_path, text)


def test_usage_hostname_and_boot_id_can_be_told(tmp_path: Path) -> None:
    usage = probe.measure(tmp_path)
    assert usage.mem_mb > 0 and usage.disk_mb > 0 and usage.load >= 0
    assert probe.hostname() and probe.boot_id() == probe.boot_id()
    assert 0 <= probe.disk_percent(tmp_path) <= 100


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
    assert cgroup_limits.cpus(proc, tmp_path) == 1.5
    assert cgroup_limits.memory(proc, tmp_path) == 3000


def test_the_limits_of_its_group_count_on_cgroup_v1(tmp_path: Path, proc: Path) -> None:
    (proc / "cgroup").write_text("8:cpu,cpuacct:/a\n7:memory:/a/b\n0::/\n")
    cpu = "31 2 0:1 / /c/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
    (proc / "mountinfo").write_text(f"{cpu}\n32 2 0:2 / /c/memory rw - cgroup cgroup rw,memory\n")
    group(tmp_path, "c/cpu,cpuacct/a", cpu_cfs_quota_us="50000", cpu_cfs_period_us="100000")
    group(tmp_path, "c/memory/a", memory_limit_in_bytes="5000")
    group(tmp_path, "c/memory/a/b", memory_limit_in_bytes="9223372036854771712")
    assert cgroup_limits.cpus(proc, tmp_path) == 0.5
    assert cgroup_limits.memory(proc, tmp_path) == 5000


def test_in_a_container_that_sees_its_group_alone_the_top_of_the_mount_counts(tmp_path: Path, proc: Path) -> None:
    (proc / "cgroup").write_text("4:memory:/docker/abc\n")
    (proc / "mountinfo").write_text("32 2 0:2 /docker/abc /c/memory ro - cgroup cgroup ro,memory\n")
    group(tmp_path, "c/memory", memory_limit_in_bytes="7000")
    assert cgroup_limits.memory(proc, tmp_path) == 7000
    assert cgroup_limits.cpus(proc, tmp_path) == float("inf")


def test_a_file_system_without_room_for_files_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda folder: SimpleNamespace(f_files=1000, f_ffree=20))
    monkeypatch.setattr(probe.psutil, "disk_usage", lambda folder: SimpleNamespace(percent=30.0))
    assert probe.disk_percent(tmp_path) == 98.0
