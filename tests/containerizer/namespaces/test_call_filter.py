"""The filter of system calls, which a small interpreter of its instructions decides by here, and the kernel itself."""

from __future__ import annotations

import errno
import platform
import struct
import subprocess
import sys

import pytest

from broker_mesos.containerizer.namespaces import call_filter
from broker_mesos.containerizer.namespaces.call_filter import DENIED, number, program
from broker_mesos.containerizer.namespaces.kernel import CLONE_NEWNS, CLONE_NEWUSER

ARCHITECTURES = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
OTHER = 0x4000_0003
"""Another one: that of 32-bit programs on x86."""
ALLOW = 0x7FFF_0000


@pytest.fixture(autouse=True)
def known_machine() -> None:
    if platform.machine() not in ARCHITECTURES:
        pytest.skip(f"WAS NOT RUN: the number of {platform.machine()} is not known to this test")


def decision(call: int, *arguments: int, architecture: int = 0) -> int:
    """0 if the filter allows a call, else the number of its error."""
    own = architecture or ARCHITECTURES[platform.machine()]
    data = struct.pack("=IIQ6Q", call, own, 0, *arguments, *([0] * (6 - len(arguments))))
    steps = list(struct.iter_unpack("=HBBI", program()))
    at = value = 0
    while True:
        kind, if_true, if_false, operand = steps[at]
        at += 1
        if kind == 0x20:
            (value,) = struct.unpack_from("=I", data, operand)
        elif kind == 0x54:
            value &= operand
        elif kind == 0x05:
            at += operand
        elif kind == 0x06:
            return 0 if operand == ALLOW else operand & 0xFFFF
        else:
            holds = {0x15: value == operand, 0x25: value > operand, 0x35: value >= operand}[kind]
            at += if_true if holds else if_false


def test_the_filter_denies_what_it_names_and_allows_the_rest() -> None:
    for name in DENIED:
        assert decision(number(name)) == errno.EPERM, name
    assert decision(number("clone3")) == errno.ENOSYS
    for name in ("clone", "unshare"):
        assert decision(number(name), CLONE_NEWUSER | 17) == errno.EPERM
        assert decision(number(name), CLONE_NEWNS) == 0
    ioctl = number("ioctl")
    for request in (0x5412, 0x541C, 0x1_0000_5412):  # the kernel reads the lower half
        assert decision(ioctl, 0, request) == errno.EPERM
    assert decision(ioctl, 0x5412, 0x5401) == 0
    named = {number(name) for name in (*DENIED, "clone3")}
    assert [each for each in range(512) if decision(each)] == sorted(named)


def test_calls_by_the_numbers_of_another_architecture_are_refused() -> None:
    assert decision(0, architecture=OTHER) == errno.ENOSYS
    if platform.machine() == "x86_64":
        assert decision(0x4000_0000) == errno.ENOSYS  # a third set of numbers, which nobody uses


def test_the_kernel_takes_the_filter_and_denies_by_it() -> None:
    code = (
        "import ctypes, os, subprocess\n"
        "from broker_mesos.containerizer import credentials\n"
        "from broker_mesos.containerizer.namespaces import call_filter\n"
        "numbers = [call_filter.number(name) for name in ('keyctl', 'clone3', 'unshare')]\n"
        "credentials.forbid_new_privileges()\n"
        "call_filter.install()\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        f"print(*[(libc.syscall(each, {CLONE_NEWUSER}, 0), ctypes.get_errno())[1] for each in numbers])\n"
        "print(subprocess.run(['echo', 'more'], capture_output=True, text=True).stdout)\n"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert made.stdout.split() == [str(errno.EPERM), str(errno.ENOSYS), str(errno.EPERM), "more"], made


def test_without_libseccomp_or_with_an_old_one_there_is_no_filter_and_the_reason_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(call_filter, "DENIED", ("no_such_call",))
    with pytest.raises(OSError, match="libseccomp does not know no_such_call"):
        program.__wrapped__()
    monkeypatch.setattr(call_filter, "_LIBRARY", "libseccomp.so.none")
    with pytest.raises(OSError, match="libseccomp is not installed"):
        program.__wrapped__()
