"""The names of users of the broker, and what kind of process each is of."""

from __future__ import annotations

import re
from enum import StrEnum

from broker_mesos.errors import InvalidInput

MASTER_USER = "master"
"""The broker's user of all masters."""
WEB_USER = "web"
"""The broker's user of all processes of ``bmesos web``."""
ENROLL_USER = "enroll"
"""The broker's user of the enrolment server."""
AGENT_PREFIX = "agent-"
"""The beginning of the names of agents' users."""

USER_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,100}")
"""Names of users. RabbitMQ pastes them into patterns of rights, where a dot would match any character."""


class SenderKind(StrEnum):
    """The kinds of users, by their names."""

    MASTER = "a master"
    AGENT = "an agent"
    WEB = "the web server"
    ENROLL = "the enrolment server"
    OTHER = "a framework or a person"


def kind_of(user: str) -> SenderKind:
    """The kind of a user."""
    if user == MASTER_USER:
        return SenderKind.MASTER
    if user == WEB_USER:
        return SenderKind.WEB
    if user == ENROLL_USER:
        return SenderKind.ENROLL
    return SenderKind.AGENT if user.startswith(AGENT_PREFIX) else SenderKind.OTHER


def check_user(user: str) -> str:
    """The name of a user. Raises InvalidInput for one that would mean something else in a pattern of rights."""
    if not USER_PATTERN.fullmatch(user):
        raise InvalidInput(f"user {user[:64]!r}: use 1 to 100 letters, digits, '-' or '_', and no dot")
    return user
