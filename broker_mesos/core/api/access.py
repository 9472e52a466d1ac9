"""Who may do what: the principals of an access policy, their rights and tokens.

A policy is a file in TOML (the setting ``policy``)::

    [principal.ann]
    actions = ["view", "submit", "kill:own"]
    roles = ["eng/*"]
    tokens = [{id = "k3t9", sha256 = "…", expires = 2030-01-01T00:00:00Z}]

    [default]
    actions = []

    [join]
    tokens = [{id = "w7q2", sha256 = "…", expires = 2030-01-01T00:00:00Z}]

A principal is a person, a program or a framework. Over HTTP its token shows who it is; over RabbitMQ the name of its
user does, which the broker has verified. Who has no entry has the rights of ``default``, which are none if the file
has no such entry. With a token of ``join`` an agent enrols itself.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable
from functools import cached_property
from typing import Annotated, Any, NamedTuple

from pydantic import AwareDatetime, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from broker_mesos.core.api.request import Request, Right
from broker_mesos.core.model.part import Part
from broker_mesos.core.model.roles import ANYBODY, check_role, is_within
from broker_mesos.core.model.task_user import check_task_user
from broker_mesos.core.protocol.users import check_user
from broker_mesos.core.protocol.wire import first_problem
from broker_mesos.errors import Denied, InvalidInput

KILL_OWN, KILL_ANY = "kill:own", Right.KILL_ANY.value
EXEC_OWN, EXEC_ANY = "exec:own", "exec:any"
ACTIONS = (*(each.value for each in Right if each not in (Right.KILL, Right.EXEC)), KILL_OWN, EXEC_OWN, EXEC_ANY)
"""The actions that a principal may be given. A right to kill, or to run commands beside tasks, is for its own jobs, or
for any."""

TOKEN_PREFIX = "bm1_"
_TOKEN = re.compile(r"bm1_([a-z0-9]{8})_([A-Za-z0-9_-]{43})")
JOIN_TOKEN_PREFIX = "bj1_"
_JOIN_TOKEN = re.compile(r"bj1_([a-z0-9]{8})_([A-Za-z0-9_-]{43})")

DIGEST_DIGITS = 12
"""Number of hexadecimal digits of the digest of a policy: enough to see a difference, and no secret."""


class TokenEntry(Part):
    """A token, without its secret: its id, the SHA-256 of the whole token, and the time at which it ends."""

    model_config = ConfigDict(extra="forbid")
    id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]{8}$")]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    expires: AwareDatetime


class Principal(Part):
    """The entry of a principal."""

    model_config = ConfigDict(extra="forbid")
    actions: tuple[str, ...] = ()
    roles: tuple[str, ...] = (ANYBODY,)
    """Roles that it may use: ``eng``, ``eng/*`` for all below ``eng``, or ``*`` for all, as if it names none."""
    task_users: tuple[str, ...] = ()
    """Users of agents' machines that its tasks may ask to run as, or ``*`` for all that an agent allows. Without any,
    they run as the user that the agent chooses."""
    tokens: tuple[TokenEntry, ...] = ()

    @field_validator("actions")
    @classmethod
    def _known(cls, actions: tuple[str, ...]) -> tuple[str, ...]:
        for action in actions:
            if action not in ACTIONS:
                raise ValueError(f"there is no action {action[:40]!r}; there are {', '.join(ACTIONS)}")
        return actions

    @field_validator("roles")
    @classmethod
    def _roles(cls, roles: tuple[str, ...]) -> tuple[str, ...]:
        for role in roles:
            check_role(role.removesuffix("/*"))
        return roles

    @field_validator("task_users")
    @classmethod
    def _task_users(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not name:
                raise ValueError("an empty name is no user of a machine")
            if name != ANYBODY:
                check_task_user(name)
        return names

    def may(self, right: Right) -> bool:
        """Whether it has a right, for its own jobs at least."""
        if right is Right.KILL:
            return KILL_OWN in self.actions or KILL_ANY in self.actions
        if right is Right.EXEC:
            return EXEC_OWN in self.actions or EXEC_ANY in self.actions
        return right.value in self.actions

    def may_use(self, role: str) -> bool:
        """Whether it may use resources of this role."""
        return any(
            pattern in (ANYBODY, role)
            or (pattern.endswith("/*") and is_within(role, above := pattern.removesuffix("/*")) and role != above)
            for pattern in self.roles
        )

    def may_run_as(self, task_user: str) -> bool:
        """Whether its tasks may ask to run as this user."""
        return task_user in self.task_users or ANYBODY in self.task_users


class DefaultPrincipal(Principal):
    """The entry of all who have none of their own. It names its roles, or has none."""

    roles: tuple[str, ...] = ()


class JoinTokens(Part):
    """The tokens with which new agents enrol themselves."""

    model_config = ConfigDict(extra="forbid")
    tokens: tuple[TokenEntry, ...] = ()


class AccessPolicy(Part):
    """A whole policy."""

    model_config = ConfigDict(extra="forbid")
    principal: dict[str, Principal] = Field(default_factory=dict)
    default: DefaultPrincipal = DefaultPrincipal()
    join: JoinTokens = JoinTokens()

    @cached_property
    def digest(self) -> str:
        """A short text that is the same for policies of the same content, whatever the layout of their files."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:DIGEST_DIGITS]

    def caller(self, name: str) -> Caller:
        """A principal with its rights; those of ``default`` if it has no entry."""
        return Caller(name, self.principal.get(name, self.default))

    def authenticate(self, token: str, now: float) -> str:
        """The name of the principal that a token belongs to. ``now`` is in seconds since the epoch. Raises Denied for
        a token that is wrong or has ended; the text says which only to who knows the secret."""
        found = _TOKEN.fullmatch(token)
        digest = token_digest(token)
        for name, principal in self.principal.items():
            for entry in principal.tokens:
                if found is not None and entry.id == found[1] and hmac.compare_digest(entry.sha256, digest):
                    if entry.expires.timestamp() <= now:
                        raise Denied(f"the token {entry.id} of {name!r} has ended: ask for a new one")
                    return name
        raise Denied("this token is not known: see `bmesos token create`, and BMESOS_TOKEN")

    def token_ends(self, name: str, token_id: str) -> float:
        """When a token of a principal ends, in seconds since the epoch; 0.0 if it has no such token (any more)."""
        principal = self.principal.get(name)
        entries = () if principal is None else principal.tokens
        return next((entry.expires.timestamp() for entry in entries if entry.id == token_id), 0.0)

    def admit(self, join_token: str, now: float) -> str:
        """The id of the entry that a join token belongs to. ``now`` is in seconds since the epoch. Raises Denied for a
        token that is wrong or has ended; the text says which only to who knows the secret."""
        found = _JOIN_TOKEN.fullmatch(join_token)
        digest = token_digest(join_token)
        for entry in self.join.tokens:
            if found is not None and entry.id == found[1] and hmac.compare_digest(entry.sha256, digest):
                if entry.expires.timestamp() <= now:
                    raise Denied(f"the join token {entry.id} has ended: make a new one (`bmesos token create --join`)")
                return entry.id
        raise Denied("this join token is not known: see `bmesos token create --join`, and BMESOS_JOIN_TOKEN_FILE")


class Caller(NamedTuple):
    """A principal that has sent a request."""

    name: str
    rights: Principal

    def check(self, request: Request) -> None:
        """Check that it may send a request. Raises Denied, which names the principal and the action."""
        right = request.RIGHT
        if right is None:
            return
        if not self.rights.may(right):
            raise self.denied(right.value, request.TYPE)
        if role := request.named_role:
            self.check_role(role, request)
        if user := request.named_task_user:
            self.check_task_user(user, request)

    def check_role(self, role: str, request: Request) -> None:
        """Check that it may use resources of a role, as this request does."""
        if not self.rights.may_use(role):
            raise self.denied(f"{request.RIGHT or ''} for the role {role}", request.TYPE)

    def check_task_user(self, task_user: str, request: Request) -> None:
        """Check that its tasks may run as a user of agents' machines, as this request has them do; an empty name
        stands for the user that the agent chooses."""
        if task_user and not self.rights.may_run_as(task_user):
            raise self.denied(f"{request.RIGHT or ''} tasks of the user {task_user}", request.TYPE)

    def check_owner(self, owner: str, request: Request) -> None:
        """Check that it may change a job of this owner."""
        if owner != self.name and KILL_ANY not in self.rights.actions:
            raise self.denied(f"{KILL_ANY} (the job belongs to {owner or 'nobody'!r})", request.TYPE)

    @property
    def kills_any(self) -> bool:
        """Whether it may kill what belongs to others."""
        return KILL_ANY in self.rights.actions

    @property
    def enters_any(self) -> bool:
        """Whether it may run commands beside tasks of others."""
        return EXEC_ANY in self.rights.actions

    def denied(self, action: str, kind: str) -> Denied:
        """The error for an action that it has no right to."""
        return Denied(f"{self.name or 'nobody'!r} has no right to {action} ({kind}): see `bmesos whoami`")


def token_id_of(token: str) -> str:
    """The id in a token; empty if it is none."""
    found = _TOKEN.fullmatch(token)
    return "" if found is None else found[1]


def token_digest(token: str) -> str:
    """The form in which a token is kept: its SHA-256 in hexadecimal digits."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def parse_policy(content: Any) -> AccessPolicy:
    """The policy in the content of a file. Raises InvalidInput, which names the wrong entry in one line."""
    try:
        policy = AccessPolicy.model_validate(content)
    except ValidationError as error:
        raise InvalidInput(first_problem(error)) from None
    for name in policy.principal:
        check_user(name)
    entries = [entry for principal in policy.principal.values() for entry in principal.tokens]
    _check_unique(entry.id for entry in [*entries, *policy.join.tokens])
    if policy.default.tokens:
        raise InvalidInput("default: it is for who has no token, and can have none")
    return policy


def _check_unique(ids: Iterable[str]) -> None:
    seen: set[str] = set()
    for ident in ids:
        if ident in seen:
            raise InvalidInput(f"two tokens have the id {ident}: each must have one of its own")
        seen.add(ident)
