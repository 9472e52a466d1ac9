"""The agent's request for an exec session, as the spawner gets it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

from broker_mesos.containerizer.task_users import TaskUsers, environment_of
from broker_mesos.ports.execution import ExecSpec

DEFAULT_TERM = "xterm"


def exec_request(spec: ExecSpec, sandbox: str, base: Mapping[str, str], users: TaskUsers | None) -> dict[str, Any]:
    """The first packet of a session (``exec_protocol.py``). ``base`` is the environment that tasks have from the agent,
    ``users`` are those that it runs tasks as."""
    own = base if users is None else environment_of(users.default, base, sandbox)
    found: dict[str, Any] = {
        "task_id": spec.task_id,
        "argv": spec.argv,
        "env": {**own, "BMESOS_TASK_ID": spec.task_id, "BMESOS_SANDBOX": sandbox},
        "set": {"BMESOS_EXEC_ID": spec.exec_id},
        "stdin": spec.stdin,
        "uids": _uids(spec.task_users, users),
    }
    if spec.tty:
        found.update(tty=True, rows=spec.rows, columns=spec.columns)
        found["set"]["TERM"] = spec.term or DEFAULT_TERM
    return found


def _uids(names: Collection[str], users: TaskUsers | None) -> list[int] | None:
    """The users of the machine as which a command may run; None for any."""
    if "*" in names:
        return None
    if users is None:
        return [os.geteuid()]
    return [users.default.ids.uid, *(users.get(name).ids.uid for name in names if name in users.names)]
