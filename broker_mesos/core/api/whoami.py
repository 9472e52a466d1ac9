"""The operator request by which a caller finds out who it is. Answered by any master."""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.api.request import Request, Route
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.wire import register


class Identity(Part):
    """A caller as masters see it."""

    name: str
    """The principal; empty if the cluster does not check who sends a request."""
    actions: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    task_users: tuple[str, ...] = ()
    """Users of agents' machines that its tasks may ask to run as."""
    may: dict[str, str] = Field(default_factory=dict)
    """Why it may not do what each right allows; empty for a right that it has. A right to kill is that for its own
    jobs at least."""
    checked: bool = False
    """Whether there is a policy. Without one everybody may do everything."""


@register
class WhoAmI(Request):
    """Get the principal that this request comes from, and its rights."""

    TYPE = "WHO_AM_I"
    ANSWER = Identity
    ROUTE = Route.MASTER
    FOR_USERS = True
