"""The options and the user in a launch request, as the agent sends it to its spawner."""

from __future__ import annotations

from typing import Any

from broker_mesos.containerizer.task_users import TaskUsers, User, own_name
from broker_mesos.errors import InvalidInput
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


def user_of(spec: LaunchSpec, users: TaskUsers | None) -> User | None:
    """The user as which a task runs, of ``users`` if the agent runs tasks as others; None for its own. Raises
    InvalidInput for one that is not allowed here."""
    if users is not None:
        return users.get(spec.user)
    if spec.user and spec.user != own_name():
        raise InvalidInput(f"its agent runs tasks as {own_name()!r} alone, not as {spec.user!r}")
    return None
