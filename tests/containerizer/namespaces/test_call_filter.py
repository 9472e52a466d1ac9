"""The filter of system calls, which a small interpreter of its instructions decides by here."""

from __future__ import annotations

import errno
import struct

import pytest

from broker_mesos.containerizer.namespaces.call_filter import CLONE, CLONE3, DENIED, IOCTL, UNSHARE, program
from broker_mesos.containerizer.namespaces.kernel import CLONE_NEWNS, CLONE_NEWUSER

MACHINES = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
ALLOW = 0x7FFF_0000


def decision(machine: str, number: int, *arguments: int, architecture: int = 0) -> int:
    """0 if the filter allows a call, else the number of its error."""
    data = struct.pack(
        "=IIQ6Q", number, architecture or MACHINES[machine], 0, *arguments, *([0] * (6 - len(arguments)))
    )
    code = program(machine)
    steps = list(struct.iter_unpack("=HBBI", code))
    at = value = 0
    while True:
        kind, if_true, if_false, operand = steps[at]
        at += 1
        if kind == 0x20:
            (value,) = struct.unpack_from("=I", data, operand)
        elif kind == 0x06:
            return 0 if operand == ALLOW else operand & 0xFFFF
        else:
            holds = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}[kind]
            at += if_true if holds else if_false


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_denies_what_it_names_and_allows_the_rest(machine: str) -> None:
    column = list(MACHINES).index(machine)
    for numbers in DENIED.values():
        assert decision(machine, numbers[column]) == errno.EPERM
    assert decision(machine, CLONE3[column]) == errno.ENOSYS
    for numbers in (CLONE, UNSHARE):
        assert decision(machine, numbers[column], CLONE_NEWUSER | 17) == errno.EPERM
        assert decision(machine, numbers[column], CLONE_NEWNS) == 0
    assert decision(machine, IOCTL[column], 0, 0x5412) == decision(machine, IOCTL[column], 0, 0x541C) == errno.EPERM
    assert decision(machine, IOCTL[column], 0, 0x5401) == 0
    named = {numbers[column] for numbers in DENIED.values()} | {CLONE3[column]}
    assert [number for number in range(440) if decision(machine, number)] == sorted(n for n in named if n < 440)


def test_calls_by_the_numbers_of_another_architecture_are_refused() -> None:
    assert decision("x86_64", 0, architecture=0x4000_0003) == errno.ENOSYS
    assert decision("x86_64", 0x4000_0000) == errno.ENOSYS


def test_an_architecture_that_the_filter_is_not_written_for_has_none() -> None:
    assert program("mips") == b""
