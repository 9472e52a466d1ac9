"""What a machine has to lend."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker_mesos.agent import probe
from broker_mesos.containerizer.disk_space import DiskSpace
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
    space = probe.disk_space(tmp_path / "not" / "there")
    assert space is not None and 0 <= space.percent <= 100 and 0 < space.free < space.size


def test_a_file_system_without_room_for_files_is_full() -> None:
    space = DiskSpace(1 << 40, 700 << 30, 300 << 30, files=1000, free_files=20)
    assert space.percent == 98.0
    assert space.shortage(1 << 30) == "it takes 20 more files, and room for 50 is kept free"
    assert not DiskSpace(1 << 40, 700 << 30, 300 << 30, files=0, free_files=0).shortage(1 << 30)
