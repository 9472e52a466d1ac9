"""The principal that sent the request which is being answered, and the check of its rights.

The web server passes the name of a principal in a header, which responders believe from the user ``web`` alone. All
others are the principal that has the name of their user.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from broker_mesos.bus.current_caller import PRINCIPAL_HEADER
from broker_mesos.core.api.access import AccessPolicy, Caller, Principal
from broker_mesos.core.api.request import Request, Right
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.users import SenderKind, kind_of
from broker_mesos.errors import BrokerMesosError
from broker_mesos.ports.bus import Delivery
from broker_mesos.runtime.logs import get_logger

log = get_logger(__name__)

_VIEWER = Principal(actions=(Right.VIEW.value,))


class Access(Protocol):
    """The source of the current access policy."""

    @property
    def policy(self) -> AccessPolicy:
        """The policy that is in force now."""
        ...

    @property
    def daemons(self) -> Collection[str]:
        """The users of built-in frameworks, which may see the cluster."""
        ...


class CheckedAccess(Access, Protocol):
    """The source of an access policy that is read again, which may fail."""

    @property
    def problem(self) -> str:
        """The reason why a newer policy is not in force, in one line; empty if there is none."""
        ...


def caller_of(delivery: Delivery, access: Access) -> Caller | None:
    """The principal of a request; None for a master, which may do everything."""
    user = delivery.sender
    kind = kind_of(user)
    if kind is SenderKind.MASTER:
        return None
    if kind is SenderKind.WEB:
        name = delivery.headers.get(PRINCIPAL_HEADER, "")
        # Without a principal it asks for itself, whether the cluster is ready.
        return access.policy.caller(name) if name else Caller(user, _VIEWER)
    if user in access.daemons or kind is SenderKind.ENROLL:
        return Caller(user, _VIEWER)
    return access.policy.caller(user)


def is_person(delivery: Delivery, access: Access) -> bool:
    """Whether a request came from a person or program directly, and not through a daemon, which records it."""
    return kind_of(delivery.sender) is SenderKind.OTHER and delivery.sender not in access.daemons


def audit(caller: Caller | None, request: Request, error: BaseException | None) -> None:
    """Log an action of a principal: who, what, on what, and the answer. Views are logged only if they are denied."""
    answer = error.error_code if isinstance(error, BrokerMesosError) else "failed" if error else "ok"
    if (request.RIGHT in (None, Right.VIEW) or not request.audited) and answer != "denied":
        return
    log.info(
        "audit",
        principal="" if caller is None else caller.name,
        action=request.TYPE,
        on=subject_of(request),
        answer=answer,
    )


_SUBJECTS = (
    "job_id",
    "id",
    "task_id",
    "agent_id",
    "agent_ids",
    "framework_id",
    "letter_id",
    "roles",
    "policy",
    "exclude",
    "which",
)


def subject_of(request: Request) -> str:
    """What a request is about, in at most 200 characters: the id of a job, an agent, names of roles; ``all`` if it
    names nothing, as a request about all dead letters."""
    for name in _SUBJECTS:
        value = getattr(request, name, None)
        if isinstance(value, Part):
            value = [f"{key}={each}" for key, each in value.model_dump(mode="json", exclude_defaults=True).items()]
        if value:
            return (value if isinstance(value, str) else ",".join(map(str, value)))[:200]
    return "all"
