"""Enrolment: how a new agent gets its user on the broker, and how an operator frees an agent's id."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import ConfigDict, Field, SecretStr

from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.model.part import Ident, Part
from broker_mesos.core.protocol.users import AGENT_PREFIX, check_user
from broker_mesos.core.protocol.wire import register
from broker_mesos.errors import InvalidInput

ENROLL_PATH = "/enroll"
"""The path at which an enrolment server takes an ``Enrolment``."""
MAX_ENROLMENT_BYTES = 4_096
"""Maximum size of the body of an enrolment, in bytes."""
PASSWORD_PATTERN = re.compile(r"[A-Za-z0-9_-]{43}")
"""Passwords of agents, which need no escape in URLs."""

Secret = Annotated[SecretStr, Field(max_length=200)]


class Enrolment(Part):
    """What an agent sends to be enrolled. It chooses its password, and stores it before it sends it: an enrolment that
    is repeated with the same password changes nothing."""

    model_config = ConfigDict(extra="forbid")
    id: str
    """The agent's id, which becomes the name of its user."""
    password: Secret
    """32 random bytes in 43 characters of URL-safe Base64."""
    join_token: Secret = SecretStr("")
    """A join token; not needed by an agent that is enrolled with this password already."""

    def check(self) -> None:
        """Raise InvalidInput, without any secret, for an id that an agent's user may not have, and for a password of
        another form."""
        check_user(self.id)
        if not self.id.startswith(AGENT_PREFIX) or self.id == AGENT_PREFIX:
            raise InvalidInput(f"id {self.id!r}: the ids of agents begin with '{AGENT_PREFIX}', as in agent-1")
        if not PASSWORD_PATTERN.fullmatch(self.password.get_secret_value()):
            raise InvalidInput("password: send 32 random bytes in URL-safe Base64, which are 43 characters")


class Enrolled(Part):
    """The answer to an enrolment."""

    id: str
    renewed: bool = False
    """Whether the agent was enrolled before with the same password, and its rights were set again."""


class AgentForgotten(Part):
    """The answer to FORGET_AGENT and REVOKE_AGENT."""

    existed: bool = False
    """Whether the agent had a user on the broker."""


@register
class RevokeAgent(Request):
    """Delete the user of an agent that is marked as gone, which closes its connections, and enrol its id no more.
    Idempotent."""

    TYPE = "REVOKE_AGENT"
    RIGHT = Right.GONE
    ANSWER = AgentForgotten
    ROUTE = Route.ENROLL
    agent_id: Ident


@register
class ForgetAgent(Request):
    """Delete the user of an agent on the broker, which closes its connections, and let its id be enrolled again, with
    a join token. Idempotent."""

    TYPE = "FORGET_AGENT"
    RIGHT = Right.ENROLL
    ANSWER = AgentForgotten
    ROUTE = Route.ENROLL
    FOR_USERS = True
    agent_id: Ident
