"""The options of a launch request, as the agent sends it to its spawner."""

from __future__ import annotations

from typing import Any

from broker_mesos.containerizer.task_users import User
from broker_mesos.ports.containerizer import LaunchSpec


def launch_options(spec: LaunchSpec, user: User | None) -> dict[str, Any]:
    """The options that a spawner of version 3 of the protocol knows."""
    found: dict[str, Any] = {}
    if user is not None:
        found["user"] = user.ids
    if spec.directory:
        found["directory"] = spec.directory
    if spec.stdin:
        found["stdin"] = True
    return found
