"""What is requested of the container engine for a task: a body of ``POST /containers/create`` of its API."""

from __future__ import annotations

import os
from typing import Any

from broker_mesos.containerizer.credentials import Ids
from broker_mesos.containerizer.images.engine import Engine
from broker_mesos.containerizer.images.host_shell import HostShell
from broker_mesos.ports.containerizer import LaunchSpec

FOLDER_LABEL = "broker-mesos.folder"
"""The work folder of the agent; see ``folder_key``."""
TASK_LABEL = "broker-mesos.task"
LAUNCH_LABEL = "broker-mesos.launch"
"""An id of the launch: a task id may be used again."""
DEFAULT_PIDS = 4096
MIN_MEMORY = 6 << 20
"""The least that engines take as a limit of memory, in bytes."""
SHARES_PER_CPU = 1024
MIN_SHARES = 2
MIN_CPU_LIMIT = 0.01


def container_name(task_id: str) -> str:
    """The name of the container of a task."""
    return f"bmesos-{task_id}"


def folder_key(work_dir: str | os.PathLike[str]) -> str:
    """The identity of a work folder: one that was replaced is another agent's. Raises OSError."""
    found = os.stat(work_dir)
    return f"{found.st_dev:x}-{found.st_ino:x}"


def describe(
    spec: LaunchSpec,
    engine: Engine,
    shell: HostShell,
    *,
    sandbox: str,
    volumes: str,
    user: Ids | None,
    labels: dict[str, str],
) -> dict[str, Any]:
    """The container of a task. It has the sandbox, and its volumes in the folder ``volumes``, at the paths that they
    have outside; the user of the task, or with None that of this process; and the task's limits."""
    argv = ("/bin/sh", "-c", *spec.argv) if spec.shell else spec.argv
    env = {"HOME": sandbox, "BMESOS_TASK_ID": spec.task_id, **spec.env}
    binds = [_bind(path, path) for path in (sandbox, *(f"{volumes}/{volume}" for _, volume in spec.volumes))]
    binds += [_bind(source, target, read_only=True) for source, target in shell.files]
    return {
        "Image": spec.image,
        "Entrypoint": shell.run(argv, stdin=spec.stdin != b"", directory=spec.directory),
        "Cmd": [],
        "Env": [f"{name}={value}" for name, value in env.items()],
        "User": _user(user, engine),
        "WorkingDir": sandbox,
        "Labels": labels,
        "HostConfig": {
            "Mounts": binds,
            "Init": True,
            "NetworkMode": spec.network or "host",
            "LogConfig": {"Type": "none"},
            "RestartPolicy": {"Name": "no"},
            "SecurityOpt": ["no-new-privileges"],
            "PidsLimit": spec.pids or DEFAULT_PIDS,
            **_limits(spec, engine),
            **({} if user is None else {"CapDrop": ["ALL"], "GroupAdd": [str(each) for each in user.groups]}),
        },
    }


def _bind(source: str, target: str, *, read_only: bool = False) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only}


def _user(user: Ids | None, engine: Engine) -> str:
    if user is not None:
        return f"{user.uid}:{user.gid}"
    return "0:0" if engine.rootless else f"{os.geteuid()}:{os.getegid()}"


def _limits(spec: LaunchSpec, engine: Engine) -> dict[str, Any]:
    found: dict[str, Any] = {
        "CpuShares": MIN_SHARES if spec.revocable else max(MIN_SHARES, int(SHARES_PER_CPU * spec.cpus)),
        "Ulimits": [{"Name": name, "Soft": value, "Hard": value} for name, value in spec.rlimits],
    }
    if spec.memory:
        memory = max(MIN_MEMORY, spec.memory)
        found.update(Memory=memory, MemorySwap=memory)
    if spec.cpu_limit and spec.cpu_limit < engine.cpus:
        found["NanoCpus"] = int(max(MIN_CPU_LIMIT, spec.cpu_limit) * 1e9)
    return found
