"""Run as a task: tries what a task must not be able to do, and prints for each attempt an error's name or "allowed".

It stands alone: the interpreter of the tests may be closed to the task's user.
"""

import ctypes
import errno
import json
import os
import resource
import socket
import sys
from collections.abc import Callable

libc = ctypes.CDLL(None, use_errno=True)


def attempt(action: Callable[..., object], *arguments: object) -> str:
    try:
        action(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "allowed"


def read(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY))


def trace(pid: int) -> None:
    attach, detach = 16, 17
    if libc.ptrace(attach, pid, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(pid, 0x40000000)  # __WALL
    libc.ptrace(detach, pid, 0, 0)


def connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.connect(path)


def main(processes: dict[str, int], paths: dict[str, str], sockets: dict[str, str]) -> None:
    found = {}
    for name, pid in processes.items():
        for file in ("environ", "mem", "maps", "io", "syscall"):
            found[f"{file} of {name}"] = attempt(read, f"/proc/{pid}/{file}")
        found[f"descriptors of {name}"] = attempt(os.listdir, f"/proc/{pid}/fd")
        found[f"working folder of {name}"] = attempt(os.readlink, f"/proc/{pid}/cwd")
        found[f"signal to {name}"] = attempt(os.kill, pid, 0)
        found[f"limits of {name}"] = attempt(resource.prlimit, pid, resource.RLIMIT_CORE)
        found[f"trace of {name}"] = attempt(trace, pid)
    for name, path in paths.items():
        found[name] = attempt(os.listdir if name.endswith("folder") else read, path)
    for name, path in sockets.items():
        found[name] = attempt(connect, path)
    found["a device"] = attempt(os.mknod, "device", 0o600 | 0o020000, os.makedev(1, 3))
    open("own", "w").close()
    found["a file for another user"] = attempt(os.chown, "own", 1, -1)
    found["another user"] = attempt(os.setuid, 1)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
