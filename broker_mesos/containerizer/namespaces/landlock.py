"""Landlock: a process gives up TCP ports that it does not hold, and sockets without a path of others, for good.

It needs no rights. UDP is not covered: no kernel can do that yet.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

PORTS_ABI = 4
"""The first version of Landlock (Linux 6.7) that knows TCP ports."""
SCOPES_ABI = 6
"""The first version (Linux 6.12) that knows sockets without a path."""
ANY_FREE_PORT = 0
"""A port that the kernel chooses, as clients have it: no task is kept from that."""

_SYS_CREATE_RULESET = 444
_SYS_ADD_RULE = 445
_SYS_RESTRICT_SELF = 446
_CREATE_RULESET_VERSION = 1
_RULE_NET_PORT = 2
_BIND_TCP = 1
_SCOPE_ABSTRACT_UNIX_SOCKET = 1

_libc = ctypes.CDLL(None, use_errno=True)
_long = ctypes.c_long


def abi() -> int:
    """The version of Landlock that this kernel has; 0 if it has none, or does not use it."""
    return max(0, int(_libc.syscall(_long(_SYS_CREATE_RULESET), None, _long(0), _long(_CREATE_RULESET_VERSION))))


def restrict(ports: Iterable[tuple[int, int]] | None, *, sockets: bool) -> None:
    """Let this process, and whatever it starts, listen on these ranges of TCP ports only, both ends inclusive; None for
    all ports. ``sockets``: reach no socket without a path that a process outside has made, where the kernel can keep it
    from that. This process has given up gaining privileges before. Raises OSError."""
    scopes = _SCOPE_ABSTRACT_UNIX_SOCKET if sockets and abi() >= SCOPES_ABI else 0
    if ports is None and not scopes:
        return
    attributes = struct.pack("3Q", 0, 0 if ports is None else _BIND_TCP, scopes)
    rules = Rules(attributes if scopes else attributes[:16])
    try:
        for low, high in () if ports is None else ((ANY_FREE_PORT, ANY_FREE_PORT), *ports):
            for port in range(low, high + 1):
                rules.add(_RULE_NET_PORT, struct.pack("2Q", _BIND_TCP, port))
        rules.apply()
    finally:
        rules.close()


class Rules:
    """Rules that this process gives itself. ``attributes`` are what they are about, as the kernel takes them. Every
    method raises OSError."""

    def __init__(self, attributes: bytes) -> None:
        size = _long(len(attributes))
        self._fd = _check(_libc.syscall(_long(_SYS_CREATE_RULESET), attributes, size, _long(0)))

    def add(self, kind: int, rule: bytes) -> None:
        """Allow something."""
        _check(_libc.syscall(_long(_SYS_ADD_RULE), _long(self._fd), _long(kind), rule, _long(0)))

    def apply(self) -> None:
        """Give up everything else, for good."""
        _check(_libc.syscall(_long(_SYS_RESTRICT_SELF), _long(self._fd), _long(0)))

    def close(self) -> None:
        """Close their descriptor; what was applied holds."""
        os.close(self._fd)


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return int(result)
