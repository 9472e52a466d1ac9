"""Names of the users of a machine as which tasks run."""

from __future__ import annotations

import re

from broker_mesos.core.model.attributes import Constraint
from broker_mesos.errors import InvalidInput

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_ATTRIBUTE = "task-user."
SAME_USER = "same-user"
"""The attribute of agents with security that run tasks as their own user."""


def check_task_user(name: str) -> str:
    """Check the name of a user, and return it; an empty one stands for the user that the agent chooses. Raises
    InvalidInput."""
    if name and not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name[:40]!r} is not the name of a user of a machine: write a letter or '_', then up to 31 letters,"
            " digits, '_', '.' or '-'"
        )
    return name


def attribute_of(name: str) -> str:
    """The attribute of agents that run tasks as this user."""
    return _ATTRIBUTE + name


def constraint_of(name: str) -> Constraint:
    """The constraint that only agents satisfy which run tasks as this user."""
    return Constraint(attribute_of(name), "exists")
