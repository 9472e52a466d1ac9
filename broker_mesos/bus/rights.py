"""The rights of each user on RabbitMQ: least ones, derived from the names of exchanges and queues.

A user's rights are three patterns of names (to declare, to write to, to read from), and patterns of routing keys for
the topic exchanges. RabbitMQ allows every key of an exchange that it has no patterns for, so that a user always has
patterns for each topic exchange that it may use at all.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from broker_mesos.bus.topology import Topology
from broker_mesos.core.protocol.addresses import Exchange, Queue, QueueKind
from broker_mesos.core.protocol.users import AGENT_PREFIX, ENROLL_USER, MASTER_USER, WEB_USER, check_user
from broker_mesos.errors import InvalidInput

NOTHING = "^$"
"""The pattern that no name and no routing key matches."""
FEED_TOPICS = r"^(agent|framework|cell|task|quota|policy|letter|job)\."
"""The routing keys of the feed: kinds of events, and jobs."""
_OWN_QUEUES = r"amq\.gen-.*"
"""Queues whose name the broker has chosen. All of them are exclusive to the connection that has declared them."""


_SALT_BYTES = 4
_ALGORITHMS = {"rabbit_password_hashing_sha256": "sha256", "rabbit_password_hashing_sha512": "sha512"}


class Role(StrEnum):
    """The kinds of users that have different rights."""

    MASTER = "master"
    AGENT = "agent"
    FRAMEWORK = "framework"
    BUILT_IN = "built-in framework"
    """A framework that also answers operator requests."""
    WEB = "web"
    PERSON = "person"
    ENROLL = "enrolment server"
    """The only user that administers the broker: it makes and deletes the users of agents."""


class KeyRights(NamedTuple):
    """The routing keys of one topic exchange that a user may publish with, and bind queues to."""

    write: str
    read: str


class Rights(NamedTuple):
    """The rights of one user: patterns of names, and of routing keys by exchange."""

    configure: str
    write: str
    read: str
    keys: Mapping[Exchange, KeyRights]


def role_of(user: str, built_in: Collection[str]) -> Role | None:
    """The role that the name of a user shows; None for one that may be a framework's or a person's. ``built_in`` are
    the ids of the built-in frameworks. Raises InvalidInput for a name that no user may have."""
    check_user(user)
    if user == MASTER_USER:
        return Role.MASTER
    if user == WEB_USER:
        return Role.WEB
    if user == ENROLL_USER:
        return Role.ENROLL
    if user in built_in:
        return Role.BUILT_IN
    return Role.AGENT if user.startswith(AGENT_PREFIX) else None


def rights(topology: Topology, user: str, role: Role, built_in: Collection[str]) -> Rights:
    """The rights of a user. Raises InvalidInput for a name that does not fit the role."""
    named = role_of(user, built_in)
    if named is not role and (named is not None or role not in (Role.FRAMEWORK, Role.PERSON)):
        raise InvalidInput(
            f"user {user!r} cannot be that of a {role}: agents' users begin with '{AGENT_PREFIX}', and "
            f"{', '.join([MASTER_USER, *built_in, WEB_USER, ENROLL_USER])} are the users of these daemons"
        )
    return _Builder(topology, user).rights(role)


class _Builder:
    def __init__(self, topology: Topology, user: str) -> None:
        self._topology = topology
        self._user = user

    def rights(self, role: Role) -> Rights:
        user = self._user
        to_masters, own_answers = "^master$", rf"^r\.{user}\."
        match role:
            case Role.MASTER:
                # Masters declare the exchanges, and are the users of every queue but those of one connection.
                every = rf"^({re.escape(self._topology.prefix)}\..*|{_OWN_QUEUES})$"
                return Rights(every, every, every, {})
            case Role.AGENT:
                return self._made(
                    queues=(Queue(QueueKind.AGENT_COMMANDS, user),),
                    write=(Exchange.HEARTBEATS, Exchange.UPDATES, Exchange.DEAD),
                    keys={
                        Exchange.COMMANDS: KeyRights(NOTHING, rf"^agent\.{user}$"),
                        Exchange.OPERATOR: KeyRights(to_masters, rf"^agent\.{user}$"),
                        Exchange.OFFERS: KeyRights(r"^early\.", NOTHING),
                        Exchange.REPLIES: KeyRights(r"^r\.", own_answers),
                    },
                )
            case Role.FRAMEWORK | Role.BUILT_IN:
                queues = [Queue(QueueKind.FRAMEWORK_OFFERS, user), Queue(QueueKind.FRAMEWORK_EVENTS, user)]
                keys = {
                    Exchange.OFFERS: KeyRights(NOTHING, rf"^(framework|early)\.{user}$"),
                    Exchange.EVENTS: KeyRights(NOTHING, rf"^framework\.{user}$"),
                    Exchange.OPERATOR: KeyRights(to_masters, NOTHING),
                    Exchange.REPLIES: KeyRights(NOTHING, own_answers),
                }
                if role is Role.BUILT_IN:
                    queues.append(Queue(QueueKind.OPERATOR_FRAMEWORK, user))
                    keys |= {
                        Exchange.OPERATOR: KeyRights(r"^(master|cell\.[0-9]+)$", rf"^framework\.{user}$"),
                        Exchange.REPLIES: KeyRights(r"^r\.", own_answers),
                        Exchange.FEED: KeyRights(r"^job\.", r"^job\."),
                    }
                return self._made(
                    queues=tuple(queues), write=(Exchange.HEARTBEATS, Exchange.CALLS, Exchange.DEAD), keys=keys
                )
            case Role.WEB | Role.PERSON:
                # Whether a person has the right to a request, masters and frameworks decide. Agents answer the web
                # server alone, since they know no principals.
                agents = r"|agent\..+" if role is Role.WEB else ""
                to_all = rf"^(master|cell\.[0-9]+|framework\..+|enroll{agents})$"
                # The broker knows no rights of persons to see what happens: they read events from masters.
                happened = {Exchange.FEED: KeyRights(NOTHING, FEED_TOPICS)} if role is Role.WEB else {}
                return self._made(
                    queues=(),
                    write=(),
                    keys={
                        **happened,
                        Exchange.OPERATOR: KeyRights(to_all, NOTHING),
                        # The doctor sends a message to itself.
                        Exchange.REPLIES: KeyRights(own_answers, own_answers),
                    },
                )
            case Role.ENROLL:
                return self._made(
                    queues=(),
                    write=(Exchange.DEAD,),
                    keys={
                        Exchange.OPERATOR: KeyRights(r"^(master|cell\.[0-9]+)$", "^enroll$"),
                        Exchange.REPLIES: KeyRights(r"^r\.", own_answers),
                    },
                )

    def _made(
        self, *, queues: tuple[Queue, ...], write: tuple[Exchange, ...], keys: Mapping[Exchange, KeyRights]
    ) -> Rights:
        """The rights to declare and use these queues and those of a connection, and to the exchanges that ``keys``
        has a routing key of; ``write`` are the direct exchanges to publish to."""
        own = [_OWN_QUEUES, *(re.escape(self._topology.queue_spec(queue).name) for queue in queues)]
        writable = [*write, *(exchange for exchange, allowed in keys.items() if allowed.write != NOTHING)]
        readable = [exchange for exchange, allowed in keys.items() if allowed.read != NOTHING]
        return Rights(
            _any_of(own),
            _any_of([*own, *self._names(writable)]),
            _any_of([*own, *self._names(readable)]),
            keys,
        )

    def _names(self, exchanges: Iterable[Exchange]) -> list[str]:
        return [re.escape(self._topology.exchange(exchange)) for exchange in exchanges]


def _any_of(patterns: Iterable[str]) -> str:
    # Python escapes a hyphen, which a pattern of RabbitMQ needs no escape for.
    return f"^({'|'.join(patterns)})$".replace("\\-", "-")


def password_hash(password: str, salt: bytes) -> str:
    """The form in which RabbitMQ keeps a password (``rabbit_password_hashing_sha256``). The salt has 4 bytes."""
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def is_password(password: str, hashed: str, algorithm: str) -> bool:
    """Whether a hash that RabbitMQ keeps is that of this password. A hash by another algorithm than SHA-256 or SHA-512
    is that of none."""
    digest = _ALGORITHMS.get(algorithm)
    try:
        kept = base64.b64decode(hashed, validate=True)
    except ValueError:
        return False
    if digest is None or len(kept) <= _SALT_BYTES:
        return False
    salt = kept[:_SALT_BYTES]
    return hmac.compare_digest(kept[_SALT_BYTES:], hashlib.new(digest, salt + password.encode()).digest())


def definitions(
    topology: Topology, users: Mapping[str, tuple[Role, str]], built_in: Collection[str], vhost: str = "/"
) -> dict[str, list[dict[str, Any]]]:
    """The part of a definitions file of RabbitMQ that has these users and their rights. ``users`` are roles and
    hashes of passwords by name. It has no other user: a blank node that imports it has no ``guest``. Raises
    InvalidInput for a name that does not fit its role."""
    made: dict[str, list[dict[str, Any]]] = {
        "users": [],
        "vhosts": [{"name": vhost}],
        "permissions": [],
        "topic_permissions": [],
    }
    for user, (role, hashed) in users.items():
        found = rights(topology, user, role, built_in)
        made["users"].append(
            {
                "name": user,
                "password_hash": hashed,
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": "administrator" if role is Role.ENROLL else "",
            }
        )
        made["permissions"].append(
            {
                "user": user,
                "vhost": vhost,
                "configure": found.configure,
                "write": found.write,
                "read": found.read,
            }
        )
        made["topic_permissions"] += [
            {
                "user": user,
                "vhost": vhost,
                "exchange": topology.exchange(exchange),
                "write": allowed.write,
                "read": allowed.read,
            }
            for exchange, allowed in found.keys.items()
        ]
    return made
