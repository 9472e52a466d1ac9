"""What a machine has to lend."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from broker_mesos.agent import probe
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


def test_a_file_system_without_room_for_files_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda folder: SimpleNamespace(f_files=1000, f_ffree=20))
    monkeypatch.setattr(probe.psutil, "disk_usage", lambda folder: SimpleNamespace(percent=30.0))
    assert probe.disk_percent(tmp_path) == 98.0
