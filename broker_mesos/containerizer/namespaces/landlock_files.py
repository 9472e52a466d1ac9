"""Landlock for files: a process gives up all files but those of one folder, and TCP, for good. It needs no rights.

Standard library only.
"""

from __future__ import annotations

import errno
import os
import struct

from broker_mesos.containerizer.credentials import forbid_new_privileges
from broker_mesos.containerizer.namespaces.landlock import PORTS_ABI, Rules, abi

LINKS_ABI = 2
"""The first version (Linux 5.19) that does not forbid all hard links between folders."""
_TRUNCATE_ABI = 3
_EXECUTE, _WRITE, _READ, _READ_FOLDER, _REMOVE_FOLDER, _REMOVE_FILE = 1, 2, 4, 8, 16, 32
_MAKE_CHAR, _MAKE_FOLDER, _MAKE_FILE, _MAKE_SOCKET, _MAKE_PIPE, _MAKE_BLOCK, _MAKE_LINK = (
    64,
    128,
    256,
    512,
    1024,
    2048,
    4096,
)
_REFER, _TRUNCATE = 8192, 16384
_BIND_AND_CONNECT_TCP = 3
_FILLING = (
    _WRITE
    | _READ
    | _READ_FOLDER
    | _REMOVE_FOLDER
    | _REMOVE_FILE
    | _MAKE_FOLDER
    | _MAKE_FILE
    | _MAKE_LINK
    | _REFER
    | _TRUNCATE
)
"""What is allowed in the folder: all that fills it with files, folders and links."""
_RULE_PATH_BENEATH = 1


def confine_to(folder: str) -> None:
    """Keep this process from opening, making and removing files, except in ``folder``, where it makes no devices and
    executes nothing, and from TCP, where the kernel can. Raises OSError, also where there is no such Landlock."""
    version = abi()
    if version < LINKS_ABI:
        raise OSError(errno.ENOSYS, "Landlock needs Linux 5.19 for this")
    known = (_TRUNCATE << 1) - 1 if version >= _TRUNCATE_ABI else _TRUNCATE - 1
    attributes = struct.pack("2Q", known, _BIND_AND_CONNECT_TCP)
    forbid_new_privileges()
    rules = Rules(attributes if version >= PORTS_ABI else attributes[:8])
    try:
        top = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            rules.add(_RULE_PATH_BENEATH, struct.pack("=Qi", _FILLING & known, top))
        finally:
            os.close(top)
        rules.apply()
    finally:
        rules.close()
